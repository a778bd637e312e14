// Sign in: the name, and the password where one is needed.

import { Refused, ask, complain } from "./page.js";

const form = document.getElementById("sign-in");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("/api/sign-in", Object.fromEntries(new FormData(form)));
    location.assign("/rate");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(error.message);
  }
});
