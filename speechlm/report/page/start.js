// Puts the parts on the page, and the keyboard.

function onkey(event) {
  const typing = event.target.closest('input:not([type="range"]), select, textarea');
  if (event.ctrlKey || event.metaKey || event.altKey || typing || byId('help').open) return;
  const inBlind = event.target.closest('#blind');
  const blindButton =
    inBlind && byId('blind').querySelector(`[data-play="${CSS.escape(event.key.toLowerCase())}"], [data-vote="${CSS.escape(event.key)}"]`);
  const number = byId('list') && byId('list').querySelector(`.play[data-number="${CSS.escape(event.key)}"]`);
  if (blindButton) blindButton.click();
  else if (number) number.click();
  else if (event.key === 'j' || event.key === 'k') step(event.key === 'j' ? 1 : -1);
  else if (event.key === 'Escape') silence();
  else if (event.key === '?') byId('help').showModal();
  else return;
  event.preventDefault();
}

function markSection(entries) {
  for (const entry of entries) {
    const link = document.querySelector(`nav a[href="#${entry.target.id}"]`);
    if (entry.isIntersecting) link.setAttribute('aria-current', 'true');
    else link.removeAttribute('aria-current');
  }
}

showOverview();
showResults();
showCurves();
if (report.groups.length) {
  showChoice();
  onchoice.push(showErrors, startList);
  showErrors();
  showUtterances();
} else {
  for (const id of ['errors', 'utterances'])
    byId(`${id}-body`).append(el('p', { class: 'note' }, 'No utterances.jsonl lies beside the scores: score again (stage 9).'));
}
showBlind();
document.addEventListener('keydown', onkey);
byId('help-open').addEventListener('click', () => byId('help').showModal());
const sections = new IntersectionObserver(markSection, { rootMargin: '-45% 0px -50% 0px' });
document.querySelectorAll('main > section').forEach((section) => sections.observe(section));
