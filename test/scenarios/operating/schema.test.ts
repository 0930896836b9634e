import { test } from '../../support/database.js'
import { expectCheckedInSchema } from '../../support/schema-dump.js'

test('the schema after all migrations is the checked-in one', async ({ db }) => {
  await expectCheckedInSchema(db)
})
