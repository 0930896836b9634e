import { styleText } from 'node:util'
import Table from 'cli-table3'
import { openScreen, type Progress } from '../terminal/screen.js'

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'cyan'

/**
 * Where a command speaks. What it was asked for goes to standard output: text, or with `--json` JSON and nothing else.
 * All that is said beside it, progress and notes, goes to standard error.
 */
export interface Output {
  readonly isJson: boolean
  /** Whether a person watches: standard output is a terminal. */
  readonly isTerminal: boolean
  /** How many lines the terminal has; 24 where nobody has set its size, or there is no terminal. */
  readonly rows: number
  /** A line, or several, for people: nothing with `--json`. */
  say(text: string): void
  /** A line of JSON: nothing without `--json`. Dates become ISO 8601 in UTC. */
  json(value: unknown): void
  /** A line beside the result, on standard error: nothing with `--json`. */
  note(text: string): void
  /** Colours where standard output shows them: not in a pipe, nor with NO_COLOR. */
  paint(style: Style, text: string): string
  /**
   * Columns under their names; a cell is shown as it is, so that it may be painted: `shown` what came from elsewhere.
   */
  table(head: readonly string[], rows: readonly (readonly string[])[], align?: readonly ('left' | 'right')[]): string
  /** How far something is, on standard error: a bar in a terminal, else a line now and then; nothing with `--json`. */
  progress(what: string, total: number | null, unit: string): Progress
  /** End what is going on, and leave the terminal as it was. */
  end(): void
}

interface OutputParts {
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
  readonly env: NodeJS.ProcessEnv
  readonly isJson: boolean
}

export function openOutput({ stdout, stderr, env, isJson }: OutputParts): Output {
  const beside = openScreen(stderr, env, () => performance.now())
  return {
    isJson,
    isTerminal: stdout.isTTY === true,
    get rows() {
      // A terminal whose size nobody has set says that it has no rows.
      return stdout.rows || 24
    },
    say(text) {
      if (!isJson) beside.aside(() => stdout.write(`${text}\n`))
    },
    json(value) {
      if (isJson) stdout.write(`${JSON.stringify(value)}\n`)
    },
    note(text) {
      if (!isJson) beside.say(text)
    },
    paint: (style, text) => styleText(style, text, { stream: stdout }),
    table(head, rows, align = []) {
      const table = new Table({
        head: [...head],
        style: { head: stdout.hasColors?.() ? ['bold'] : [], border: [], compact: true },
        chars: plainChars,
        colAligns: head.map((_, column) => align[column] ?? 'left'),
      })
      for (const row of rows) table.push([...row])
      return table
        .toString()
        .split('\n')
        .map((line) => line.trimEnd())
        .join('\n')
    },
    progress: (what, total, unit) => (isJson ? silent : beside.progress(what, total, unit)),
    end: beside.end,
  }
}

const silent: Progress = { update() {}, end() {} }

/** Columns by space alone: what a person reads can be cut by awk too. */
const plainChars = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: ' ',
} as const
