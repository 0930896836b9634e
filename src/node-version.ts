/**
 * Whether this Node is new enough, said in words. It imports nothing, and is written so that much older ones read it:
 * one of those otherwise ends with a missing method somewhere in our code, or in that of a dependency.
 */
const needed = '20.19'

/** What to tell the user of an older Node; null: it is new enough. */
export const nodeTooOld: string | null = isOlder(process.versions.node, needed)
  ? `Bugle needs Node.js ${needed} or newer, and this is Node.js ${process.versions.node}`
  : null

function isOlder(version: string, than: string): boolean {
  const [major, minor] = numbers(version)
  const [leastMajor, leastMinor] = numbers(than)
  return major < leastMajor || (major === leastMajor && minor < leastMinor)
}

function numbers(version: string): [major: number, minor: number] {
  const [major, minor] = version.split('.').map(Number)
  return [major || 0, minor || 0]
}
