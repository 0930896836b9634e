/** Lying bars: medians, each with a whisker from the least to the most of the repeats. */
import { faint, ink, palette, shown, textStyle } from './canvas.mjs'

/** @typedef {{ median: number, min: number, max: number }} Figure */

const barHeight = 18
const whisker = 4

/**
 * @param {object} chart
 * @param {string} chart.title
 * @param {string} chart.unit
 * @param {readonly string[]} chart.categories from the top
 * @param {readonly { name: string, figures: readonly (Figure | undefined)[] }[]} chart.groups a figure for each
 *   category
 * @param {readonly string[]} [chart.ours] of one group: the categories to stand out
 * @returns {import('./canvas.mjs').Drawing}
 */
export function bars({ title, unit, categories, groups, ours = categories }) {
  const rowHeight = groups.length * barHeight + 16
  const isSingle = groups.length === 1
  const top = isSingle ? 32 : 60
  return {
    title,
    width: 860,
    height: top + categories.length * rowHeight + 40,
    option: {
      ...(!isSingle && { legend: { top: 28, left: 0, itemGap: 40, icon: 'rect', textStyle } }),
      grid: { left: labelWidth(categories), right: 90, top, bottom: 32 },
      xAxis: {
        type: 'value',
        name: unit,
        nameTextStyle: textStyle,
        axisLabel: { ...textStyle, formatter: shown },
        splitLine: { lineStyle: { color: faint } },
      },
      yAxis: {
        type: 'category',
        inverse: true,
        data: categories,
        axisLabel: textStyle,
        axisTick: { show: false },
        axisLine: { lineStyle: { color: ink } },
      },
      series: groups.flatMap((group, index) => [
        barsOf(
          group,
          index,
          categories.map((category) => ours.includes(category)),
        ),
        whiskersOf(group, index, groups.length),
      ]),
    },
  }
}

/** Whatever font a reader has: nobody measures the text here. @param {readonly string[]} labels */
function labelWidth(labels) {
  return 24 + 8 * Math.max(...labels.map(({ length }) => length))
}

/**
 * @param {{ name: string, figures: readonly (Figure | undefined)[] }} group
 * @param {number} index
 * @param {readonly boolean[]} standsOut
 */
function barsOf({ name, figures }, index, standsOut) {
  const color = palette[index % palette.length]
  return {
    name,
    type: 'bar',
    barWidth: barHeight - 3,
    barGap: '20%',
    itemStyle: { color },
    data: figures.map((figure, row) => ({
      value: figure?.median ?? null,
      ...(!standsOut[row] && { itemStyle: { color: faint } }),
    })),
  }
}

/**
 * @param {{ name: string, figures: readonly (Figure | undefined)[] }} group
 * @param {number} index
 * @param {number} count
 */
function whiskersOf({ name, figures }, index, count) {
  const step = (barHeight - 3) * 1.2
  const offset = (index - (count - 1) / 2) * step
  return {
    name,
    type: 'custom',
    z: 3,
    data: figures.flatMap((figure, row) => (figure ? [[row, figure.min, figure.max, figure.median]] : [])),
    encode: { y: 0, x: [1, 2] },
    renderItem: (/** @type {unknown} */ _params, /** @type {any} */ api) => {
      const [from, y] = api.coord([api.value(1), api.value(0)])
      const [to] = api.coord([api.value(2), api.value(0)])
      const at = y + offset
      const line = (
        /** @type {number} */ x1,
        /** @type {number} */ y1,
        /** @type {number} */ x2,
        /** @type {number} */ y2,
      ) => ({
        type: 'line',
        shape: { x1, y1, x2, y2 },
        style: { stroke: ink, lineWidth: 1.5 },
      })
      return {
        type: 'group',
        children: [
          line(from, at, to, at),
          line(from, at - whisker, from, at + whisker),
          line(to, at - whisker, to, at + whisker),
          // Past the whisker, where nothing strikes it through.
          {
            type: 'text',
            style: { ...textStyle, fill: ink, text: shown(api.value(3)), x: to + 8, y: at, verticalAlign: 'middle' },
          },
        ],
      }
    },
  }
}
