// What all parts share: the data, making elements (texts only ever as text), words and colours.

const report = JSON.parse(document.getElementById('data').textContent);
const taskOf = (name) => report.tasks[name] || { description: name };
const withoutBlanks = (lang) => report.unspaced.includes(lang);
const byId = (id) => document.getElementById(id);
const lowerIsBetter = (metric) => report.lower.includes(metric);
const arrow = (metric) => (lowerIsBetter(metric) ? '↓' : '↑');
const figure = (value, digits = 2) => (value === null || value === undefined ? '–' : value.toFixed(digits));

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name.startsWith('--')) node.style.setProperty(name, value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

function select(label, options, value, onchange) {
  const control = el('select', { onchange: () => onchange(control.value) });
  for (const [key, text] of options) control.append(el('option', { value: key, selected: String(key) === String(value) }, text));
  return el('label', { class: 'field' }, el('span', null, label), control);
}

function search(label, oninput) {
  const control = el('input', {
    type: 'search',
    dir: 'auto',
    autocomplete: 'off',
    spellcheck: 'false',
    oninput: () => oninput(control.value.trim().toLowerCase()),
  });
  return el('label', { class: 'field grow' }, el('span', null, label), control);
}

function checkbox(label, checked, onchange) {
  const control = el('input', { type: 'checkbox', checked, onchange: () => onchange(control.checked) });
  return el('label', { class: 'check' }, control, el('span', null, label));
}

// A table whose headers sort it. columns: [{name, key, numeric}]; onsort gets the key and whether it descends.
function sortableHead(columns, sorted, onsort) {
  const row = el('tr', { role: 'row' });
  for (const column of columns) {
    const on = column.key !== undefined && column.key === sorted.key;
    const head = el('th', { role: 'columnheader', scope: 'col', class: column.numeric ? 'number' : null });
    if (column.key === undefined) head.append(column.name);
    else {
      head.setAttribute('aria-sort', on ? (sorted.descending ? 'descending' : 'ascending') : 'none');
      head.append(
        el(
          'button',
          {
            type: 'button',
            class: 'sort',
            title: column.name,
            'data-key': column.key,
            onclick: () => onsort(column.key, on ? !sorted.descending : Boolean(column.numeric)),
          },
          column.name,
          el('span', { class: 'mark', 'aria-hidden': 'true' }, on ? (sorted.descending ? '▼' : '▲') : '↕'),
        ),
      );
    }
    row.append(head);
  }
  return el('thead', { role: 'rowgroup' }, row);
}

// Order of two values, texts or numbers; what is not there comes last either way.
function compare(a, b, descending) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  const order = typeof a === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true });
  return descending ? -order : order;
}

// The colour of a system: one of six for models, grey for ceilings; the same everywhere on the page.
const modelNames = [
  ...new Set(
    report.groups
      .flatMap((group) => group.systems.filter((s) => !s.ceiling).map((s) => s.name))
      .concat(report.rows.filter((row) => !row.ceiling).map((row) => row.model)),
  ),
];
const seriesOf = (system) =>
  system.ceiling
    ? system.ceiling === 'originals'
      ? 'ceiling originals'
      : 'ceiling coded'
    : `series series${modelNames.indexOf(system.name) % 6}`;

const wordsOf = (text, lang) => (withoutBlanks(lang) ? [...text.replace(/\s+/g, '')] : text.split(/\s+/).filter(Boolean));

// What holds a text of the corpus: it runs, and is aligned, in its own direction.
const textIn = (lang, className, ...text) => el('span', { class: `text-of ${className || ''}`, lang, dir: 'auto' }, ...text);

// The cheapest alignment of two lists of words: [[word of a or null, word of b or null], ...].
function align(a, b) {
  const width = b.length + 1;
  const cost = new Uint32Array((a.length + 1) * width);
  for (let i = 0; i <= a.length; i++) {
    for (let j = 0; j <= b.length; j++) {
      const at = i * width + j;
      if (!i || !j) cost[at] = i + j;
      else cost[at] = Math.min(cost[at - width - 1] + (a[i - 1] === b[j - 1] ? 0 : 1), cost[at - width] + 1, cost[at - 1] + 1);
    }
  }
  const pairs = [];
  for (let i = a.length, j = b.length; i || j;) {
    const at = i * width + j;
    if (i && j && cost[at] === cost[at - width - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)) pairs.push([a[--i], b[--j]]);
    else if (i && cost[at] === cost[at - width] + 1) pairs.push([a[--i], null]);
    else pairs.push([null, b[--j]]);
  }
  return pairs.reverse();
}

// A hypothesis in one line with its reference: what was lost, and what came instead.
function differences(utterance, hyp) {
  const wanted = wordsOf(utterance.compared ?? utterance.ref, utterance.lang);
  const made = wordsOf(hyp.compared ?? hyp.text, utterance.lang);
  const gap = withoutBlanks(utterance.lang) ? '' : ' ';
  const line = textIn(utterance.lang, 'words');
  let [lost, got] = [[], []]; // of a run of differences
  const end = () => {
    if (lost.length) line.append(el('del', { title: 'in the reference only' }, lost.join(gap)), gap);
    if (got.length) line.append(el('ins', { title: 'in the hypothesis only' }, got.join(gap)), gap);
    [lost, got] = [[], []];
  };
  for (const [ref, word] of align(wanted, made)) {
    if (ref === word) {
      end();
      line.append(ref, gap);
    } else {
      if (ref !== null) lost.push(ref);
      if (word !== null) got.push(word);
    }
  }
  end();
  if (!made.length) line.append(el('em', null, '(nothing)'));
  return line;
}
