import { randomBytes } from 'node:crypto'
import type { DemoNames, RoleNames } from './statements.js'

/** Connection strings: who does what in a run. */
export interface Access {
  /** Makes and drops everything, and migrates. */
  readonly owner: string
  readonly producer: string
  readonly consumer: string
  readonly observer: string
}

interface NewRole {
  readonly name: string
  readonly password: string
}

export interface NewRoles {
  readonly producer: NewRole
  readonly consumer: NewRole
  readonly observer: NewRole
}

/** Names that no other run has, nor anybody's own schema or role: two demos may share a database. */
export function ownNames(withRoles: boolean): DemoNames {
  const own = `bugle_demo_${randomBytes(4).toString('hex')}`
  const roles = { producer: `${own}_producer`, consumer: `${own}_consumer`, observer: `${own}_observer` }
  return { own, jobs: `${own}_jobs`, roles: withRoles ? roles : null }
}

/** Everybody is the owner. */
export function sameAccess(owner: string): Access {
  return { owner, producer: owner, consumer: owner, observer: owner }
}

/** Each with a password that nobody else knows. */
export function newRoles({ producer, consumer, observer }: RoleNames): NewRoles {
  const role = (name: string): NewRole => ({ name, password: randomBytes(16).toString('hex') })
  return { producer: role(producer), consumer: role(consumer), observer: role(observer) }
}

/**
 * Each by a role of its own.
 *
 * @param database - where the owner's connection has led
 */
export function roleAccess(owner: string, database: string, { producer, consumer, observer }: NewRoles): Access {
  return {
    owner,
    producer: asRole(owner, database, producer),
    consumer: asRole(owner, database, consumer),
    observer: asRole(owner, database, observer),
  }
}

/** The same URL with another user. It was read before, so its form is known to be right. */
function asRole(url: string, database: string, { name, password }: NewRole): string {
  const [, scheme = '', authority = '', path = '', query = ''] =
    /^(\w+:\/\/)([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(url) ?? []
  const hosts = authority.slice(authority.lastIndexOf('@') + 1)
  // As a parameter either would override what stands before the host.
  const others = query.split('&').filter((pair) => pair !== '' && !/^(user|password|dbname)=/.test(pair))
  const user = `${encodeURIComponent(name)}:${encodeURIComponent(password)}`
  // Where none was given, it was named after the user.
  const there = /(?:^|&)dbname=/.test(query) || path === '' ? encodeURIComponent(database) : path
  return `${scheme}${user}@${hosts}/${there}${others.length > 0 ? `?${others.join('&')}` : ''}`
}
