// Overview and the table of results.

function tile(group, index) {
  const metric = group.metrics[0];
  const rows = report.rows.filter(
    (row) => row.task === group.task && row.metric === metric && (row.set === group.set || row.set.startsWith(`${group.set}.`)),
  );
  const most = Math.max(...rows.map((row) => row.n));
  const whole = rows.filter((row) => row.n === most && row.set === rows.find((r) => r.n === most).set);
  const models = whole.filter((row) => !row.ceiling);
  const ceilings = whole.filter((row) => row.ceiling);
  const best = [...models].sort((a, b) => compare(a.value, b.value, !lowerIsBetter(metric)))[0];
  if (!best) return null;
  const others = models.filter((row) => row !== best).map((row) => `${row.model} ${figure(row.value, 1)}`);
  return el(
    'a',
    { class: 'tile', href: '#errors', onclick: () => choose({ group: index }) },
    el('span', { class: 'task' }, taskOf(group.task).description),
    el('span', { class: 'set' }, group.set),
    el('strong', null, figure(best.value, 1)),
    el('span', { class: 'metric' }, `${metric} ${arrow(metric)}`),
    el('span', { class: 'rest' }, [best.model, ...others].join(' · ')),
    el('span', { class: 'rest' }, ceilings.length ? `ceiling ${ceilings.map((row) => figure(row.value, 1)).join(' / ')}` : ' '),
  );
}

function showOverview() {
  const utterances = report.groups.reduce((sum, group) => sum + group.of, 0);
  const models = new Set(report.groups.flatMap((group) => group.systems.filter((s) => !s.ceiling).map((s) => s.name))).size;
  const count = (number, name) => `${number} ${name}${number === 1 ? '' : 's'}`;
  const [tasks, sets] = ['task', 'set'].map((name) => new Set(report.groups.map((group) => group[name])).size);
  const clips = Object.keys(report.clips).length;
  const missing = report.missing ? ` ${report.missing} recordings were not found.` : '';
  byId('summary').textContent =
    `${count(tasks, 'task')}, ${count(sets, 'test set')}, ${count(models, 'model')}, ${utterances.toLocaleString('en')} scored utterances, ${clips} recordings to listen to.${missing}`;
  byId('tiles').append(...report.groups.map(tile).filter(Boolean));
}

const COLUMNS = [
  { name: 'task', key: 'task' },
  { name: 'test set', key: 'set' },
  { name: 'metric', key: 'metric' },
  { name: 'model', key: 'model' },
  { name: 'value', key: 'value', numeric: true },
  { name: '95 %', key: 'low', numeric: true },
  { name: '' },
  { name: 'n', key: 'n', numeric: true },
  { name: 'signature', key: 'signature' },
];

function showResults() {
  const body = byId('results-body');
  const view = { task: '', words: '', sorted: { key: null, descending: false } };
  const holder = el('div');
  const tops = {};
  for (const row of report.rows) tops[row.task + row.metric] = Math.max(tops[row.task + row.metric] || 0, row.high ?? row.value);
  const tasks = [...new Set(report.rows.map((row) => row.task))];
  const cell = (name, className, ...content) => el('td', { role: 'cell', 'data-name': name, class: className }, ...content);

  function line(row, before) {
    const top = /BLEU|chrF/.test(row.metric) ? 100 : tops[row.task + row.metric];
    const series = row.ceiling
      ? `ceiling ${row.model.startsWith('originals') ? 'originals' : 'coded'}`
      : `series series${Math.max(0, modelNames.indexOf(row.model)) % 6}`;
    const starts = !before || before.task !== row.task || before.set !== row.set || before.metric !== row.metric;
    return el(
      'tr',
      { role: 'row', class: `${row.ceiling ? 'is-ceiling' : ''} ${starts ? 'starts' : ''}` },
      cell('task', null, row.task),
      cell('test set', null, row.set),
      cell('metric', 'metric', `${row.metric} ${arrow(row.metric)}`),
      cell('model', 'model', row.model, row.ceiling && el('small', { class: 'badge' }, 'ceiling')),
      cell('value', 'number strong', figure(row.value)),
      cell('95 %', 'number', row.low === null ? '' : `${figure(row.low)} – ${figure(row.high)}`),
      cell('', 'plot', whisker(row.low, row.high, row.value, top, series)),
      cell('n', 'number', String(row.n)),
      cell(
        'signature',
        null,
        el(
          'a',
          {
            href: `#signature-${row.signature}`,
            onclick: () => {
              signatures.open = true;
            },
          },
          `[${row.signature}]`,
        ),
      ),
    );
  }
  function show() {
    const { key, descending } = view.sorted;
    let rows = report.rows.filter(
      (row) =>
        (!view.task || row.task === view.task) && [row.task, row.set, row.metric, row.model].join(' ').toLowerCase().includes(view.words),
    );
    if (key) rows = [...rows].sort((a, b) => compare(a[key], b[key], descending));
    const onsort = (next, down) => {
      view.sorted = { key: next, descending: down };
      show();
      holder.querySelector(`[data-key="${next}"]`).focus();
    };
    holder.replaceChildren(
      el(
        'table',
        { role: 'table', class: 'results', 'aria-labelledby': 'results-title' },
        sortableHead(COLUMNS, view.sorted, onsort),
        el('tbody', { role: 'rowgroup' }, ...rows.map((row, i) => line(row, rows[i - 1]))),
      ),
    );
    if (!rows.length) holder.append(el('p', { class: 'note' }, 'No row is like this.'));
  }
  const signatures = el(
    'details',
    null,
    el('summary', null, 'Signatures: how each figure was made'),
    el(
      'ol',
      { class: 'signatures' },
      ...report.signatures.map((text, i) => el('li', { id: `signature-${i + 1}` }, el('code', null, text))),
    ),
  );
  body.append(
    el(
      'div',
      { class: 'controls' },
      select('Task', [['', 'all'], ...tasks.map((task) => [task, task])], '', (task) => {
        view.task = task;
        show();
      }),
      search('Filter', (words) => {
        view.words = words;
        show();
      }),
    ),
    holder,
    signatures,
  );
  show();
}
