// Scores by keys: a button's own, or the arrows, which go to the score beside.

const steps = { ArrowLeft: -1, ArrowRight: 1 };

// Return the one of a scale's radio buttons that a key chooses, if any; an arrow begins at the end that it comes from.
export function scoreByKey(scale, event) {
  const inputs = [...scale.querySelectorAll("[data-key]")];
  const step = steps[event.key];
  if (step === undefined) return inputs.find((one) => one.dataset.key === event.key);
  // Among radio buttons that have the focus, the browser itself moves.
  if (event.target.matches("[type=radio]")) return undefined;
  const chosen = inputs.findIndex((one) => one.checked);
  return chosen === -1 ? inputs.at(step === 1 ? 0 : -1) : inputs[chosen + step];
}
