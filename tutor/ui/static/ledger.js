/* Feedback beside an answer: thumbs, reasons, corrections, and taking them back. Adds to what app.js defines. */
(() => {
  "use strict";
  const tutor = window.studyTutor;
  if (!tutor || tutor.ledger) return;
  tutor.ledger = true;

  const { acts, call, note, newId } = tutor;

  /** Send what is said about an answer, and draw what the server makes of it; `focus` finds where one was. */
  async function send(button, action, sent, focus) {
    const block = button.closest(".feedback");
    const turn = Number(block.dataset.turn);
    const saved = await call(() => tutor.chatServer()[action]({ turn, ...sent }), button);
    if (!saved) return;
    if (saved.error) {
      note(button, saved.error);
      return;
    }
    block.outerHTML = saved.html;
    document.querySelector(`.feedback[data-turn="${turn}"] ${focus}`)?.focus({ preventScroll: true });
  }

  const rate = (button, rating, more, focus = `.${rating}`) =>
    send(button, "rate", { rating, request_id: newId(), ...more }, focus);

  acts.rate = (button) => rate(button, button.dataset.rating);
  acts.reason = (button) => {
    const reason = button.dataset.reason;
    const off = button.getAttribute("aria-pressed") === "true";
    rate(button, "down", { reason: off ? "" : reason }, `[data-reason=${reason}]`);
  };
  acts.unrate = (button) => send(button, "unrate", {}, ".up");

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.act !== "correct") return;
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    if (!button.hasAttribute("aria-busy")) rate(button, form.dataset.rating, { correction: new FormData(form).get("correction") });
  });
})();
