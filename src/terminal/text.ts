/** Words and figures for a terminal. */
import ms from 'ms'

// Apart, since the library's log needs it, and nothing else of this.
export { shown } from './shown.js'

/** `12,345` */
export function count(value: number): string {
  return value.toLocaleString('en-US')
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`
}

/** Decimal: `312.4 MB`. */
export function bytesText(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return unit === 0 ? plural(bytes, 'byte') : `${value.toFixed(1)} ${units[unit]}`
}

/** `3 h`, `12 min`: for people, and rounded. */
export function durationText(durationMs: number): string {
  return ms(Math.max(0, Math.round(durationMs)), { long: true })
}

/** `0s`, `45s`, `3m`, `2h`, `7d`: about how long, for people. */
export function ageText(forMs: number): string {
  return forMs < 1_000 ? `${Math.round(Math.max(0, forMs) / 100) / 10}s` : ms(Math.round(forMs))
}

/** `5m`; of a moment that is ahead `in 5m`. */
export function sinceText(moment: Date, now: number): string {
  const age = now - moment.getTime()
  return age < 0 ? `in ${ms(-age)}` : ms(age)
}
