/**
 * A password as SCRAM hashes it (SASLprep, RFC 4013), in the three steps that change one, as `pg` and PostgreSQL take
 * them: odd spaces become spaces, what is invisible goes, and the rest is composed (NFKC).
 *
 * postgres.js hashes passwords as they are given, so a password that this changes would be right for our sessions and
 * wrong for our pools. It gets the prepared one. It does not say what the server asks for: where that is the password
 * itself or an MD5 of it, and not SCRAM, a password that this changes is wrong for the pools.
 *
 * @see https://www.rfc-editor.org/rfc/rfc4013
 */
export function saslPrepared(password: string): string {
  return password.replaceAll(otherSpaces, ' ').replaceAll(invisible, '').normalize('NFKC')
}

/** RFC 3454, table C.1.2. */
const otherSpaces = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/g
/** RFC 3454, table B.1. */
const invisible = /\u00AD|\u034F|\u1806|[\u180B-\u180D]|\u200C|\u200D|\u2060|[\uFE00-\uFE0F]|\uFEFF/g
