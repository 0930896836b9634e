import { type Check, ok } from './check.js'

/**
 * How full the server's queue of notifications is. It holds what some listener has not read yet, 8 GB; when it is full
 * every commit that notifies fails, in all databases. Our triggers notify nobody while it is half full. A healthy one
 * is at 0: 5 % are 400 MB that somebody does not read.
 */
export const notificationQueue: Check = {
  name: 'notification-queue',
  needs: ['connection'],
  async look(patient) {
    const [row] = await patient.ask<{ usage: number }>('notification_queue')
    const usage = row?.usage ?? 0
    const percent = `${(usage * 100).toFixed(usage >= 0.001 || usage === 0 ? 1 : 5)} %`
    if (usage < patient.thresholds.notificationQueue) return [ok(`the notification queue is at ${percent}`, { usage })]
    return [
      {
        status: 'trouble',
        message:
          `the notification queue is at ${percent}: some session listens and does not read, as one does that listens ` +
          'inside an open transaction or whose process hangs. From 50 % on Bugle notifies nobody, and sweeps find ' +
          'its jobs; at 100 % every commit of others that notifies fails',
        remedy:
          '-- who it may be, the likeliest first; then pg_terminate_backend(pid)\n' +
          'select pid, application_name, state, xact_start, query from pg_stat_activity\n' +
          "where state like 'idle in transaction%' or query ilike 'listen%' " +
          'order by xact_start nulls last, state_change;',
        details: { usage },
      },
    ]
  },
}
