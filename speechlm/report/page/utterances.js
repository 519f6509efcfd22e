// The list of utterances: sorted, filtered, and opened to listen.

const PAGE = 25;
const list = { sorted: { key: 'score0', descending: true }, words: '', speaker: '', lang: '', kind: '', shown: PAGE, open: null };
let rowsShown = [];

function filterBy(change) {
  Object.assign(list, change, { shown: PAGE, open: null });
  showFilters();
  showList();
  byId('utterances').scrollIntoView();
}

function valueOf(utterance, key) {
  if (key.startsWith('score')) return utterance.hyps[Number(key.slice(5))].values[chosen.metric];
  return utterance[key];
}

function matching() {
  const { key, descending } = list.sorted;
  const has = (u) =>
    !list.words || [u.id, u.ref, u.source || '', ...u.hyps.map((h) => h.text)].some((text) => text.toLowerCase().includes(list.words));
  const fits = (u) =>
    (!list.speaker || u.speaker === list.speaker) &&
    (!list.lang || u.lang === list.lang) &&
    (!list.kind || (u.clips && (list.kind === 'audio' || u.clips.why === list.kind)));
  return groupNow()
    .utterances.filter((u) => fits(u) && has(u))
    .sort((a, b) => compare(valueOf(a, key), valueOf(b, key), descending) || Boolean(b.clips) - Boolean(a.clips) || compare(a.id, b.id));
}

function showFilters() {
  const group = groupNow();
  const options = (name) => [...new Set(group.utterances.map((u) => u[name]).filter(Boolean))].sort().map((value) => [value, value]);
  const again = (change) => {
    Object.assign(list, change, { shown: PAGE, open: null });
    showList();
  };
  const fields = [search('Find in texts and ids', (words) => again({ words }))];
  fields[0].querySelector('input').value = list.words;
  if (options('speaker').length > 1)
    fields.push(select('Speaker', [['', 'all'], ...options('speaker')], list.speaker, (speaker) => again({ speaker })));
  if (options('lang').length > 1) fields.push(select('Language', [['', 'all'], ...options('lang')], list.lang, (lang) => again({ lang })));
  fields.push(
    select(
      'Show',
      [
        ['', 'all'],
        ['audio', 'with audio'],
        ['chosen', 'chosen by id, with audio'],
        ['worst', 'the worst, with audio'],
      ],
      list.kind,
      (kind) => again({ kind }),
    ),
  );
  byId('filters').replaceChildren(...fields);
}

function columnsOf(group) {
  const models = group.systems
    .map((system, i) => ({ name: system.name, key: `score${i}`, numeric: true, i }))
    .filter(({ i }) => !group.systems[i].ceiling);
  return [
    { name: 'utterance', key: 'id' },
    { name: 'speaker', key: 'speaker' },
    { name: 'length', key: 'length', numeric: true },
    ...models,
    { name: 'reference and hypothesis' },
  ];
}

function rowOf(utterance, columns) {
  const group = groupNow();
  const open = list.open === utterance;
  const models = columns.filter((column) => column.i !== undefined);
  const shown = (list.sorted.key.startsWith('score') && models.find((column) => column.key === list.sorted.key)) || models[0] || { i: 0 };
  const cell = (name, className, ...content) => el('td', { role: 'cell', 'data-name': name, class: className }, ...content);
  const button = el(
    'button',
    { type: 'button', class: 'open', 'aria-expanded': String(open), onclick: () => openUtterance(open ? null : utterance) },
    el('span', { class: 'chevron', 'aria-hidden': 'true' }, '›'),
    utterance.id,
    utterance.clips && el('span', { class: 'ear', title: `has audio: ${utterance.clips.why}` }, '♪'),
  );
  const row = el(
    'tr',
    { role: 'row', class: open ? 'opened' : null },
    el('th', { role: 'rowheader', scope: 'row', 'data-name': 'utterance' }, button),
    cell('speaker', null, utterance.speaker || '–', utterance.known === false && el('small', { class: 'badge' }, 'unheard')),
    cell('length', 'number', String(utterance.length)),
    ...models.map((column) => cell(column.name, 'number strong', figure(utterance.hyps[column.i].values[chosen.metric], 1))),
    cell('', 'text', differences(utterance, utterance.hyps[shown.i])),
  );
  if (!open) return [row];
  return [row, el('tr', { role: 'row', class: 'detail' }, el('td', { role: 'cell', colspan: columns.length }, detail(utterance, group)))];
}

function clipsOf(utterance, group) {
  if (!utterance.clips) return [];
  const named = [
    ['source', 'Source'],
    ['reference', 'Reference'],
    ['codec', taskOf(group.task).recognises ? 'Through the codec' : 'Codec ceiling'],
    ...group.systems.map((system, i) => [String(i), system.name]),
  ];
  return named.filter(([role]) => utterance.clips[role]).map(([role, name]) => ({ name, clip: utterance.clips[role] }));
}

function textRow(name, content, values, className) {
  return el('div', { class: `said ${className || ''}` }, el('dt', null, name), el('dd', null, content), values);
}

function detail(utterance, group) {
  const clips = clipsOf(utterance, group);
  const longest = Math.max(...clips.map(({ clip }) => report.clips[clip]));
  const players = clips.length
    ? el('div', { class: 'clips' }, ...clips.map(({ name, clip }, i) => player(name, clip, longest, i + 1)))
    : el(
        'p',
        { class: 'note' },
        report.full
          ? 'No audio: the page has as much as it may (--max_mb).'
          : 'No audio: only chosen and the worst utterances have some (--listen).',
      );
  const texts = el('dl', { class: 'texts' });
  if (utterance.source) texts.append(textRow('Source', textIn(null, '', utterance.source)));
  texts.append(textRow('Reference', textIn(utterance.lang, '', utterance.ref)));
  group.systems.forEach((system, i) => {
    const hyp = utterance.hyps[i];
    const values = group.metrics.map(
      (metric, m) =>
        hyp.values[m] !== null &&
        hyp.values[m] !== undefined &&
        el('span', { class: 'score' }, `${metric} `, el('b', null, figure(hyp.values[m], 1))),
    );
    texts.append(textRow(system.name, differences(utterance, hyp), el('dd', { class: 'scores' }, ...values), seriesOf(system)));
    if (hyp.compared !== undefined) texts.append(textRow('as it was written', textIn(utterance.lang, 'raw', hyp.text || '(nothing)')));
  });
  return el('div', null, players, texts);
}

function openUtterance(utterance) {
  silence();
  list.open = utterance;
  if (utterance) {
    if (!matching().includes(utterance)) (Object.assign(list, { words: '', speaker: '', lang: '', kind: '' }), showFilters());
    list.shown = Math.max(list.shown, matching().indexOf(utterance) + 1);
  }
  showList();
  const button = byId('list').querySelector('[aria-expanded="true"]');
  if (button) {
    button.focus({ preventScroll: true });
    button.closest('tr').scrollIntoView({ block: 'start' });
  }
}

function step(by) {
  const at = rowsShown.indexOf(list.open);
  const next = matching()[Math.max(0, at + by)];
  if (next) openUtterance(next);
}

function showList() {
  const columns = columnsOf(groupNow());
  const found = matching();
  rowsShown = found;
  const onsort = (key, descending) => {
    Object.assign(list, { sorted: { key, descending }, shown: PAGE, open: null });
    showList();
    byId('list').querySelector(`[data-key="${key}"]`).focus();
  };
  const table = el(
    'table',
    { role: 'table', class: 'utterances', 'aria-labelledby': 'utterances-title' },
    sortableHead(columns, list.sorted, onsort),
    el('tbody', { role: 'rowgroup' }, ...found.slice(0, list.shown).flatMap((utterance) => rowOf(utterance, columns))),
  );
  const left = found.length - list.shown;
  const more =
    left > 0 &&
    el(
      'button',
      {
        type: 'button',
        class: 'more',
        onclick: () => {
          list.shown += 50;
          showList();
        },
      },
      `Show ${Math.min(50, left)} more of ${left}`,
    );
  const group = groupNow();
  byId('count').textContent = `${found.length} of ${group.of} utterances of ${group.task} · ${group.set}`;
  byId('list').replaceChildren(table, ...(more ? [more] : []));
}

function showUtterances() {
  byId('utterances-body').append(
    el('div', { id: 'filters', class: 'controls' }),
    el('p', { id: 'count', class: 'note', 'aria-live': 'polite' }),
    el('div', { id: 'list' }),
  );
  startList();
}

// A new test set or metric: the worst of the first model first, and the first one open if it can be heard.
function startList() {
  const group = groupNow();
  const first = Math.max(
    0,
    group.systems.findIndex((system) => !system.ceiling),
  );
  Object.assign(list, {
    sorted: { key: `score${first}`, descending: lowerIsBetter(group.metrics[chosen.metric]) },
    words: '',
    speaker: '',
    lang: '',
    kind: '',
    shown: PAGE,
    open: null,
  });
  const worst = matching()[0];
  if (worst && worst.clips) list.open = worst;
  showFilters();
  showList();
}
