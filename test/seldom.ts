/**
 * So that the command takes minutes, and people run it: what costs much processor time, and tells of seldom changed parts. They run with
 * BUGLE_TEST_SLOW, as in CI; the run's last lines say that they were left out.
 */
export const seldom = [
  'test/demo.test.ts',
  'test/docs.test.ts',
  'test/doctor/server.test.ts',
  'test/doctor/way.test.ts',
  'test/embedded.test.ts',
  'test/package-install.test.ts',
  'test/races-broken.test.ts',
  'test/scenarios/fleet.test.ts',
  'test/scenarios/grants.test.ts',
  'test/transactions.test.ts',
]
