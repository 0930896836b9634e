/**
 * What somebody may have meant by a name that we do not know: the word of another library, or a slip of the keyboard.
 */

/**
 * Names of ours, and words for them in Graphile Worker, pg-boss, BullMQ, Agenda, Bee-Queue and node-postgres. A word
 * may stand in several rows: the first row counts whose name the options at hand have. So `max` is connections to
 * `createBugle`, and slots to `consume`.
 */
const foreignWords: readonly (readonly [ours: string, words: string])[] = [
  ['poolSize', 'max maxPoolSize connectionLimit pool connections'],
  ['concurrency', 'max teamSize teamConcurrency localConcurrency maxConcurrency concurrentJobs numWorkers workers'],
  ['concurrency', 'parallelism parallel concurrent threads slots'],
  ['prefetch', 'fetchSize lookAhead'],
  ['maxAttempts', 'attempts retries retryLimit retry retryCount tries maxRetries maxTries'],
  ['retryStrategy', 'attempts retries retryLimit retry retryCount tries maxRetries maxTries maxAttempts'],
  ['retryStrategy', 'backoff backoffStrategy retryDelay retryBackoff'],
  ['delayMs', 'delay wait startAfter'],
  ['baseMs', 'delay delayMs minDelay backoff retryDelay'],
  ['maxMs', 'maxDelay retryDelayMax'],
  ['runAt', 'at when eta date startAt startAfter scheduledAt scheduledFor runAfter'],
  ['sweepMs', 'pollInterval pollingInterval pollingIntervalSeconds newJobCheckInterval interval processEvery'],
  ['database', 'db dbname'],
  ['user', 'username'],
  ['connectionString', 'database databaseUrl db url uri dsn connectionUrl redis'],
  ['connection', 'host port user username password ssl pgPool'],
  ['schema', 'prefix workerSchema tablePrefix namespace'],
  ['key', 'jobKey singletonKey uniqueKey jobId deduplication dedupe id'],
  ['keyMode', 'jobKeyMode'],
  ['kind', 'type name jobName taskIdentifier identifier task'],
  ['flags', 'tags labels'],
  ['withoutFlags', 'forbiddenFlags'],
  ['tx', 'trx transaction client pgClient db executor session manager'],
  ['timeoutMs', 'timeout jobTimeout expireIn expireInSeconds expiration ttl'],
  ['startTimeoutMs', 'timeout'],
  ['graceMs', 'timeout shutdownTimeout closeTimeout'],
  ['rescueAfterMs', 'lockDuration lockLifetime stalledInterval stallInterval visibilityTimeout heartbeatSeconds'],
  ['maxCrashes', 'maxStalledCount'],
  ['keep', 'removeOnComplete keepCompleted removeOnFail'],
  ['archivedForMs', 'removeOnComplete keepCompleted deleteAfterSeconds retentionSeconds'],
  ['failedForMs', 'removeOnFail retentionDays'],
  ['onFailed', 'onError onFailure errorHandler'],
  ['handleSignals', 'noHandleSignals gracefulShutdown signals'],
  ['signal', 'abortSignal'],
  ['logger', 'log debug verbose'],
  // Events.
  ['job:failed', 'error failed fail failure job:error'],
  ['job:acked', 'completed complete success succeeded job:complete job:success done'],
  ['job:started', 'active start started job:start'],
  ['job:stuck', 'stalled'],
]

/**
 * The name that was meant, as far as one can tell: the same in other letters, the word of another library, or what is
 * nearest.
 *
 * @param known - all that there are; where several are as near, the first counts
 * @returns undefined if nothing comes near
 */
export function suggestion(asked: string, known: readonly string[]): string | undefined {
  const lower = asked.toLowerCase()
  return known.find((name) => name.toLowerCase() === lower) ?? wordFor(asked, known) ?? nearest(lower, known)
}

/** The name that another library's word stands for. */
export function wordFor(word: string, known: readonly string[]): string | undefined {
  const asked = word.toLowerCase()
  const isMeant = (words: string): boolean => words.toLowerCase().split(' ').includes(asked)
  return foreignWords.find(([ours, words]) => known.includes(ours) && isMeant(words))?.[0]
}

function nearest(asked: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  // Two slips are many in a name of three letters: `url` is not `ssl`.
  let bestDistance = Math.max(asked.length > 3 ? 2 : 1, Math.floor(asked.length / 3)) + 1
  for (const one of known) {
    const name = one.toLowerCase()
    // `grace` for `graceMs`, `hostname` for `host`: a forgotten unit is the commonest slip.
    const contained = asked.length >= 3 && (name.startsWith(asked) || asked.startsWith(name))
    const distance = contained ? 1 : editDistance(asked, name)
    if (distance < bestDistance && distance < name.length) {
      best = one
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein's distance, row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(substituted, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}
