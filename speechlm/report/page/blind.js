// Blind A/B listening: two systems in an order that is drawn by lot and hidden, votes kept in the browser and exported as JSON.

const STORE = `speechlm-report-${report.digest}`;
const spoken = report.groups
  .map((group, index) => ({ group, index }))
  .filter(({ group }) => group.utterances.some((u) => sidesOf(group, u).length > 1));
const blind = { tests: {}, group: spoken.length ? spoken[0].index : 0, pair: null, kept: true };

// The systems of a group whose recordings an utterance has: [{name, clip}].
function sidesOf(group, utterance) {
  const role = (system, i) => ({ originals: 'reference', 'codec reconstruction': 'codec' })[system.name] || String(i);
  return group.systems
    .map((system, i) => ({ name: system.name, clip: utterance.clips && utterance.clips[role(system, i)] }))
    .filter((side) => side.clip);
}

function loadVotes() {
  try {
    blind.tests = JSON.parse(localStorage.getItem(STORE)) || {};
  } catch {
    blind.kept = false;
  }
}

function saveVotes() {
  try {
    localStorage.setItem(STORE, JSON.stringify(blind.tests));
  } catch {
    blind.kept = false;
  }
}

function random() {
  return crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
}

// The test of two systems: its trials in random order, each with a random side first. Made once, so that a reload goes on with it.
function testNow() {
  const group = report.groups[blind.group];
  const [one, other] = blind.pair;
  const name = [group.task, group.set, one, other].join(' | ');
  if (!Object.hasOwn(blind.tests, name)) {
    const trials = group.utterances
      .filter((u) => [one, other].every((side) => sidesOf(group, u).some((s) => s.name === side)))
      .map((u) => ({ id: u.id, lang: u.lang, a: random() < 0.5 ? one : other, vote: null }));
    for (const trial of trials) trial.b = trial.a === one ? other : one;
    for (let i = trials.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [trials[i], trials[j]] = [trials[j], trials[i]];
    }
    blind.tests[name] = { task: group.task, test_set: group.set, systems: [one, other], trials };
  }
  return blind.tests[name];
}

function logFactorial(n) {
  let sum = 0;
  for (let i = 2; i <= n; i++) sum += Math.log(i);
  return sum;
}

// The sign test: how likely a difference as large as this is if neither is better; votes for no difference don't count.
function signTest(wins, losses) {
  const n = wins + losses;
  let tail = 0;
  for (let k = 0; k <= Math.min(wins, losses); k++)
    tail += Math.exp(logFactorial(n) - logFactorial(k) - logFactorial(n - k) - n * Math.LN2);
  return Math.min(1, 2 * tail);
}

function exportVotes() {
  const tests = Object.values(blind.tests)
    .map((test) => ({ ...test, trials: test.trials.filter((trial) => trial.vote) }))
    .filter((test) => test.trials.length);
  const text = JSON.stringify({ report: report.title, digest: report.digest, tests }, null, 1);
  const link = el('a', { href: URL.createObjectURL(new Blob([text], { type: 'application/json' })), download: 'votes.json' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function outcome(test) {
  const [one, other] = test.systems;
  const voted = test.trials.filter((trial) => trial.vote);
  const count = (system) => voted.filter((trial) => trial.vote === system).length;
  const [wins, losses] = [count(one), count(other)];
  const row = (name, number, className) =>
    el(
      'li',
      null,
      el('div', { class: 'part' }, name),
      el(
        'div',
        { class: 'lines' },
        el('div', { class: 'line' }, whisker(null, null, number, voted.length, className), el('span', { class: 'number' }, String(number))),
      ),
    );
  return el(
    'div',
    { class: 'outcome' },
    el('h3', null, `${voted.length} votes`),
    el(
      'ul',
      { class: 'bars' },
      row(`${one} is better`, wins, 'series series0'),
      row('no difference', voted.length - wins - losses, 'ceiling'),
      row(`${other} is better`, losses, 'series series1'),
    ),
    el(
      'p',
      { class: 'note' },
      wins + losses ? `Sign test, two-sided: p = ${signTest(wins, losses).toFixed(3)}.` : 'No preference was voted.',
    ),
  );
}

function trialView(test) {
  const at = test.trials.findIndex((trial) => !trial.vote);
  if (at < 0) return el('div', null, el('p', { class: 'lead' }, 'All are voted on.'), outcome(test));
  const trial = test.trials[at];
  const group = report.groups[blind.group];
  const utterance = group.utterances.find((u) => u.id === trial.id && u.lang === trial.lang);
  const clips = sidesOf(group, utterance);
  const heard = new Set();
  const side = (letter, system) => {
    const audio = audioOf(clips.find((clip) => clip.name === system).clip);
    const button = el(
      'button',
      { type: 'button', class: 'side', 'data-play': letter, onclick: () => toggle(audio) },
      el('b', null, letter.toUpperCase()),
      el('span', null, 'play'),
    );
    audio.addEventListener('play', () => {
      heard.add(letter);
      button.classList.add('on', 'heard');
      if (heard.size === 2)
        votes.forEach((vote) => {
          vote.disabled = false;
        });
    });
    for (const event of ['pause', 'ended']) audio.addEventListener(event, () => button.classList.remove('on'));
    audio.addEventListener('error', () => {
      button.lastChild.textContent = 'cannot be played';
    });
    return el('div', null, button, audio);
  };
  const vote = (name, key, value) =>
    el('button', { type: 'button', class: 'vote', disabled: true, 'data-vote': key, onclick: () => castVote(trial, value) }, name);
  const votes = [
    vote('A is better', 'ArrowLeft', trial.a),
    vote('no difference', 'ArrowDown', 'none'),
    vote('B is better', 'ArrowRight', trial.b),
  ];
  return el(
    'div',
    { class: 'trial', 'data-trial': at },
    el('p', { class: 'note', 'aria-live': 'polite' }, `${at + 1} of ${test.trials.length}. Listen to both, then vote.`),
    el('progress', { max: test.trials.length, value: at, 'aria-label': 'voted on' }),
    el('p', { class: 'wanted', lang: utterance.lang, dir: 'auto' }, utterance.ref),
    el('div', { class: 'sides' }, side('a', trial.a), side('b', trial.b)),
    el('div', { class: 'votes' }, ...votes),
  );
}

function castVote(trial, value) {
  silence();
  trial.vote = value;
  saveVotes();
  showTrial();
  const next = byId('blind').querySelector('[data-play="a"]');
  if (next) next.focus();
}

function takeBack() {
  const last = testNow().trials.findLast((trial) => trial.vote);
  if (last) last.vote = null;
  saveVotes();
  showTrial();
}

function showTrial() {
  silence();
  const test = testNow();
  const done = test.trials.filter((trial) => trial.vote).length;
  const reveal = el(
    'button',
    {
      type: 'button',
      disabled: !done || done === test.trials.length,
      onclick: () => byId('trial').replaceChildren(outcome(test), el('button', { type: 'button', onclick: showTrial }, 'Go on')),
    },
    'Show the result so far',
  );
  byId('trial').replaceChildren(trialView(test));
  byId('trial-tools').replaceChildren(
    el('button', { type: 'button', disabled: !done, onclick: takeBack }, 'Take back the last vote'),
    reveal,
    el('button', { type: 'button', id: 'export', onclick: exportVotes }, 'Export votes (JSON)'),
    el(
      'button',
      {
        type: 'button',
        disabled: !done,
        onclick: () => {
          if (window.confirm('Delete the votes of this test?')) {
            for (const trial of test.trials) trial.vote = null;
            saveVotes();
            showTrial();
          }
        },
      },
      'Delete votes',
    ),
  );
  if (!blind.kept)
    byId('trial-tools').append(
      el('p', { class: 'note' }, 'This browser keeps nothing for pages from disk: export the votes before you close it.'),
    );
}

function showBlind() {
  const body = byId('blind-body');
  if (!spoken.length) {
    body.append(el('p', { class: 'note' }, 'Nothing to compare: no test set has recordings of two systems.'));
    return;
  }
  loadVotes();
  const controls = el('div', { class: 'controls' });
  const pairOf = (group) => {
    const names = group.systems.filter((s) => group.utterances.some((u) => sidesOf(group, u).some((side) => side.name === s.name)));
    return [...names.filter((s) => !s.ceiling), ...names.filter((s) => s.ceiling).reverse()].map((s) => s.name);
  };
  function show() {
    const names = pairOf(report.groups[blind.group]);
    blind.pair = blind.pair && blind.pair.every((name) => names.includes(name)) ? blind.pair : names.slice(0, 2);
    const [one, other] = blind.pair;
    const pick = (at) => (name) => {
      blind.pair[at] = name;
      if (blind.pair[0] === blind.pair[1]) blind.pair[1 - at] = names.find((n) => n !== name);
      show();
    };
    controls.replaceChildren(
      select(
        'Test set',
        spoken.map(({ group, index }) => [index, `${group.task} · ${group.set}`]),
        blind.group,
        (value) => {
          blind.group = Number(value);
          blind.pair = null;
          show();
        },
      ),
      select(
        'Compare',
        names.map((n) => [n, n]),
        one,
        pick(0),
      ),
      select(
        'with',
        names.map((n) => [n, n]),
        other,
        pick(1),
      ),
    );
    showTrial();
  }
  body.append(
    el(
      'p',
      { class: 'note' },
      'Which of the two is which is drawn by lot and hidden until you look at the result. Votes stay in this browser.',
    ),
    controls,
    el('div', { id: 'trial', class: 'card' }),
    el('div', { id: 'trial-tools', class: 'controls' }),
  );
  show();
}
