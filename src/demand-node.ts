/**
 * Refuses an older Node. Each entry of the library imports it first: modules are evaluated in the order of their
 * imports, so this error comes before those of the code that such a Node cannot run.
 *
 * It throws at import, as nothing else of ours does: there is no call yet that could refuse. It is of no use where an
 * older Node cannot even link our modules, so none of those imports a name from Node that Node 18 does not export, but
 * for the command, which loads its modules after the check.
 */
import { nodeTooOld } from './node-version.js'

if (nodeTooOld !== null) throw new Error(nodeTooOld)
