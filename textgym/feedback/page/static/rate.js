// Rate: one completion, a score, a word, a comment.

import { judge } from "./judging.js";
import { words } from "./page.js";
import { scoreByKey } from "./scoring.js";

const qualities = { g: "good", f: "fair", b: "bad" };

judge({
  kind: "rate",
  path: "/api/ratings",
  missing: words.say_something,
  keys: (key, event) => {
    if (!qualities[key]) return scoreByKey(document.getElementById("scores"), event);
    return document.querySelector(`[name=quality][value=${qualities[key]}]`);
  },
  read: (data) => {
    const [score, quality] = [data.get("score"), data.get("quality")];
    if (score === null && quality === null) return null;
    return { score: score === null ? null : Number(score), quality, comment: data.get("comment") };
  },
});
