import cliProgress from 'cli-progress'
import { count } from './text.js'

/** A stream that people read: lines, and beneath them how far something is. */
export interface Screen {
  /** A line, or several; above a bar that is going on. */
  say(text: string): void
  /** Write to a stream that may be the same terminal. */
  aside(speak: () => void): void
  /**
   * Show how far something is, until its `end`: a bar in a terminal, else a line now and then. One at a time.
   *
   * @param total - null: nobody knows
   */
  progress(what: string, total: number | null, unit: string): Progress
  /** End what is going on, and leave the terminal as it was. */
  end(): void
}

export interface Progress {
  update(done: number): void
  end(): void
}

/** Between the lines that stand for a bar. */
const lineEveryMs = 5_000
/** Drawing takes time from the workers. */
const framesPerSecond = 5

/** @param now - milliseconds, monotonic */
export function openScreen(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv, now: () => number): Screen {
  const write = (text: string): void => void stream.write(`${text}\n`)
  const canDraw = stream.isTTY && env.TERM !== 'dumb'
  let current: Shown | null = null

  function end(): void {
    current?.end()
    current = null
  }

  function aside(speak: () => void): void {
    if (current === null) speak()
    else current.aside(speak)
  }

  return {
    say: (text) => aside(() => write(text)),
    aside,
    progress(what, total, unit) {
      end()
      // A bar of nothing would be at NaN per cent.
      if (total === 0) return { update() {}, end() {} }
      const rate = createRate(now)
      const own = canDraw ? bar(stream, what, total, unit, rate) : lines(write, what, total, unit, rate, now)
      current = own
      return {
        update: (done) => {
          if (current === own) own.update(done)
        },
        end: () => {
          if (current === own) end()
        },
      }
    },
    end,
  }
}

/** A progress that lets others speak. */
interface Shown extends Progress {
  aside(speak: () => void): void
}

type Rate = (done: number) => string

function bar(stream: NodeJS.WriteStream, what: string, total: number | null, unit: string, rate: Rate): Shown {
  let done = 0
  let shown = draw()

  function draw(): cliProgress.SingleBar {
    const drawn = new cliProgress.SingleBar(
      {
        stream,
        format:
          total === null
            ? `{what} {value} ${unit}, {rate}`
            : `{what} {bar} {percentage} %  {value} of {total} ${unit}, {rate}`,
        formatValue: (value, _, type) => (type === 'value' || type === 'total' ? count(value) : String(value)),
        barsize: 24,
        fps: framesPerSecond,
        // Ctrl-C is the caller's own business.
        gracefulExit: false,
      },
      cliProgress.Presets.shades_classic,
    )
    drawn.start(total ?? 1, done, { what, rate: rate(done) })
    return drawn
  }

  return {
    update(now) {
      done = now
      shown.update(done, { rate: rate(done) })
    },
    end: () => shown.stop(),
    aside(speak) {
      shown.stop()
      speak()
      shown = draw()
    },
  }
}

function lines(
  write: (text: string) => void,
  what: string,
  total: number | null,
  unit: string,
  rate: Rate,
  now: () => number,
): Shown {
  let toldAt = now()
  let toldDone = -1

  function tell(done: number): void {
    toldAt = now()
    toldDone = done
    write(`${what}: ${count(done)}${total === null ? '' : ` of ${count(total)}`} ${unit}, ${rate(done)}`)
  }

  let done = 0
  return {
    update(value) {
      done = value
      if (now() - toldAt >= lineEveryMs) tell(done)
    },
    end() {
      if (toldDone !== done) tell(done)
    },
    aside: (speak) => speak(),
  }
}

function createRate(now: () => number): Rate {
  const from = now()
  return (done) => {
    const seconds = (now() - from) / 1000
    return `${count(seconds > 0 ? Math.round(done / seconds) : 0)} a second`
  }
}
