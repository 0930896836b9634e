import { delay } from './checks.js'

/**
 * The delay that an HTTP answer asks for, in milliseconds from `now`; for `retryAfterMs` of an error.
 *
 * @param header - the `Retry-After` field: seconds, or a date in one of the three forms of HTTP
 * @param now - milliseconds since 1970
 * @returns 0 for a date that has passed; undefined if the field is absent, neither of the two, or over 100 years ahead
 * @see https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
 */
export function parseRetryAfter(header: string | null | undefined, now: number = Date.now()): number | undefined {
  if (typeof header !== 'string') return undefined
  const text = header.trim()
  // Fractions are outside the standard and in use.
  const delayMs = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1_000 : httpDate(text, now) - now
  return delayIfAny(Math.max(0, delayMs))
}

const httpDateForms = [
  // Sun, 06 Nov 1994 08:49:37 GMT
  /^[A-Z][a-z]{2}, (?<day>\d\d) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<h>\d\d):(?<m>\d\d):(?<s>\d\d) GMT$/,
  // Sunday, 06-Nov-94 08:49:37 GMT
  /^[A-Z][a-z]+day, (?<day>\d\d)-(?<month>[A-Z][a-z]{2})-(?<year>\d\d) (?<h>\d\d):(?<m>\d\d):(?<s>\d\d) GMT$/,
  // Sun Nov  6 08:49:37 1994
  /^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) (?<h>\d\d):(?<m>\d\d):(?<s>\d\d) (?<year>\d{4})$/,
]
const monthNames = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/**
 * Milliseconds since 1970, or NaN. Not `Date.parse`, which takes `1.5` for a day in 2001 and the third form for
 * local time.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats
 */
function httpDate(text: string, now: number): number {
  for (const form of httpDateForms) {
    const { day, month = '', year = '', h, m, s } = form.exec(text)?.groups ?? {}
    const monthIndex = monthNames.indexOf(month)
    if (monthIndex === -1 || Number(h) > 23 || Number(m) > 59 || Number(s) > 60) continue
    const fullYear = year.length === 2 ? yearNear(Number(year), now) : Number(year)
    const date = new Date(Date.UTC(fullYear, monthIndex, Number(day)))
    if (date.getUTCDate() !== Number(day)) continue // 31 Feb
    return date.setUTCHours(Number(h), Number(m), Number(s))
  }
  return Number.NaN
}

/** Two digits more than 50 years ahead are meant to be in the past. */
function yearNear(twoDigits: number, now: number): number {
  const thisYear = new Date(now).getUTCFullYear()
  const year = thisYear - (thisYear % 100) + twoDigits
  return year > thisYear + 50 ? year - 100 : year
}

/** A delay that others have given; undefined for what is none. */
export function delayIfAny(value: unknown): number | undefined {
  try {
    return delay('retryAfterMs', value)
  } catch {
    return undefined
  }
}
