// Curves of the trainings: one chart each, of the part of the loss that is chosen.

function curveChart(name, trainings, part) {
  const lines = trainings.flatMap((training, i) =>
    Object.entries(training.kinds)
      .filter(([, parts]) => parts[part])
      .map(([kind, parts]) => ({ kind, of: training.experiment, series: i, points: parts[part] })),
  );
  if (!lines.length) return null;
  const xs = lines.flatMap((line) => line.points.map((p) => p[0]));
  const ys = lines.flatMap((line) => line.points.map((p) => p[1]));
  const high = Math.max(...ys);
  const frame = chart(
    `${part} of ${name} by step`,
    { low: 0, high: Math.max(...xs), name: 'step' },
    { low: Math.min(0, ...ys), high: high * 1.05 || 1 },
  );
  for (const line of lines) {
    const group = svg('g', { class: `series series${line.series % 6} ${line.kind}` });
    group.append(svg('path', { d: path(line.points, frame), class: 'curve' }));
    if (line.kind !== 'train' || line.points.length === 1)
      line.points.forEach(([a, b]) => group.append(marker(0, frame.x(a), frame.y(b), { class: 'point' })));
    for (const [a, b] of line.points)
      group.append(
        svg(
          'circle',
          { cx: frame.x(a), cy: frame.y(b), r: 7, class: 'hit' },
          svg('title', null, `${line.of ? `${line.of}: ` : ''}${line.kind}, step ${a}: ${b}`),
        ),
      );
    frame.plot.append(group);
  }
  const kinds = [...new Set(lines.map((line) => line.kind))];
  const keys = el(
    'ul',
    { class: 'legend' },
    ...trainings.flatMap((training, i) =>
      kinds.map((kind) =>
        el(
          'li',
          { class: `series series${i % 6} ${kind}` },
          el('i', { class: 'stroke' }),
          [training.experiment, kind].filter(Boolean).join(' '),
        ),
      ),
    ),
  );
  const last = lines
    .filter((line) => line.kind === 'valid')
    .map((line) => `${line.of ? `${line.of}: ` : ''}${line.points.at(-1)[1].toFixed(3)}`);
  return el(
    'figure',
    { class: 'card' },
    el(
      'figcaption',
      null,
      el('h3', null, name),
      last.length ? el('p', { class: 'note' }, `${part}, last on the development set: ${last.join(', ')}`) : null,
    ),
    keys,
    frame.node,
  );
}

function showCurves() {
  const body = byId('training-body');
  const names = [...new Set(report.curves.map((curve) => curve.name))];
  const parts = [...new Set(report.curves.flatMap((curve) => Object.values(curve.kinds).flatMap(Object.keys)))];
  if (!parts.length) {
    body.append(el('p', { class: 'note' }, 'There is no train.jsonl in the experiment.'));
    return;
  }
  const holder = el('div', { class: 'charts' });
  const show = (part) =>
    holder.replaceChildren(
      ...names
        .map((name) =>
          curveChart(
            name,
            report.curves.filter((curve) => curve.name === name),
            part,
          ),
        )
        .filter(Boolean),
    );
  body.append(
    el('p', { class: 'note' }, 'Losses in nats per token or code, on the training batches and on the development set.'),
    el(
      'div',
      { class: 'controls' },
      select(
        'Figure',
        parts.map((part) => [part, part]),
        parts[0],
        show,
      ),
    ),
    holder,
  );
  show(parts[0]);
}
