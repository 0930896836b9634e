/** The figures of a scenario, while its repeats come in. */

/** @typedef {Record<string, { unit: string, values: number[] }>} Figures */

/**
 * @param {Figures} figures
 * @param {string} name
 * @param {string} unit
 * @param {number} value of one repeat
 */
export function addValue(figures, name, unit, value) {
  const figure = figures[name] ?? { unit, values: [] }
  figure.values.push(value)
  figures[name] = figure
}

/**
 * @param {number} number
 * @param {string} one
 * @param {string} many
 * @returns {string} as '1 process' or '2 processes'
 */
export function counted(number, one, many) {
  return `${number} ${number === 1 ? one : many}`
}

/** @param {number} processes */
export function processesName(processes) {
  return counted(processes, 'process', 'processes')
}
