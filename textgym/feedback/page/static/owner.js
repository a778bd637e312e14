// The owner's overview has nothing of its own to do: signing out works as on every page.

import "./page.js";
