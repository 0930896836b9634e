/** Lines over time, in rows above each other that share the time. */
import { faint, ink, shown, textStyle } from './canvas.mjs'

/** @typedef {{ x: readonly number[], y: readonly number[] }} Series */

const rowHeight = 110
const gap = 46

/**
 * @param {object} chart
 * @param {string} chart.title
 * @param {readonly { title: string, series: Readonly<Record<string, Series | undefined>> }[]} chart.rows
 * @returns {import('./canvas.mjs').Drawing}
 */
export function lines({ title, rows }) {
  const top = (/** @type {number} */ row) => 84 + row * (rowHeight + gap)
  return {
    title,
    width: 860,
    height: top(rows.length) - gap + 44,
    option: {
      legend: { top: 28, left: 0, itemGap: 40, icon: 'rect', textStyle },
      grid: rows.map((_, row) => ({ left: 64, right: 24, top: top(row), height: rowHeight })),
      xAxis: rows.map((_, row) => ({
        type: 'value',
        gridIndex: row,
        name: row === rows.length - 1 ? 's' : '',
        nameTextStyle: textStyle,
        max: 'dataMax',
        axisLabel: { ...textStyle, formatter: shown },
        axisLine: { lineStyle: { color: ink } },
        splitLine: { show: false },
      })),
      yAxis: rows.map(({ title }, row) => ({
        type: 'value',
        gridIndex: row,
        name: title,
        nameTextStyle: { ...textStyle, align: 'left' },
        min: 0,
        axisLabel: { ...textStyle, formatter: shown },
        splitLine: { lineStyle: { color: faint } },
      })),
      series: rows.flatMap(({ series }, row) =>
        Object.entries(series).flatMap(([name, values]) => (values === undefined ? [] : [lineOf(name, values, row)])),
      ),
    },
  }
}

/** @param {string} name @param {Series} series @param {number} row */
function lineOf(name, { x, y }, row) {
  return {
    name,
    type: 'line',
    xAxisIndex: row,
    yAxisIndex: row,
    showSymbol: false,
    lineStyle: { width: 2 },
    data: x.map((at, index) => [at, y[index]]),
  }
}
