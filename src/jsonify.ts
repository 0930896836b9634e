/**
 * Types only: what becomes of a payload that is written as JSON and read again, where there is neither schema nor
 * codec. It says of types what payload.ts does with values.
 */

/** Tells `any` from a union, which may be taken apart. */
export type IsAny<T> = 0 extends 1 & T ? true : false

/**
 * What a handler gets of a payload: the very type where JSON holds it as it is, otherwise what JSON makes of it. A
 * `Date` becomes a string, an instance of a class loses its methods. What JSON cannot hold becomes a text that says so.
 */
export type Jsonify<T> = SameOr<T, Written<T, 'read'>>

/** What may be put: the very type where JSON can hold it, otherwise with a text in the place of what it cannot hold. */
export type JsonInput<T> = SameOr<T, Written<T, 'put'>>

/** `T` itself, under its own name, where both mean the same. */
type SameOr<T, Other> = [T] extends [Other] ? ([Other] extends [T] ? T : Other) : Other

/** A value on its way through JSON. 'put': what has a `toJSON` is still as it was; 'read': it is what that returned. */
type Written<T, Side extends 'put' | 'read'> = unknown extends T
  ? T
  : T extends string | number | boolean | null | undefined
    ? T
    : T extends { toJSON(...given: never[]): infer Json }
      ? Side extends 'put'
        ? T
        : Jsonify<Json>
      : [Unwritable<T>] extends [never]
        ? T extends readonly unknown[]
          ? WrittenList<T, Side>
          : { [Key in keyof T as IsSeen<T, Key> extends true ? Key : never]: Written<T[Key], Side> }
        : `JSON holds no ${Unwritable<T>}: put something else, or give createBugle a codec`

/** An array names its items by alias, so that the compiler looks at them late: a type may hold lists of itself. */
type WrittenList<T extends readonly unknown[], Side extends 'put' | 'read'> = number extends T['length']
  ? T extends unknown[]
    ? Written<T[number], Side>[]
    : readonly Written<T[number], Side>[]
  : { [Index in keyof T]: Written<T[Index], Side> }

/** What a put refuses (`INVALID_PAYLOAD`), by its name; never: it is written. */
type Unwritable<T> = T extends bigint
  ? 'BigInt'
  : T extends symbol
    ? 'symbol'
    : T extends AnyFunction
      ? 'function'
      : T extends ReadonlyMap<unknown, unknown>
        ? 'Map'
        : T extends ReadonlySet<unknown>
          ? 'Set'
          : T extends ArrayBufferView | ArrayBuffer
            ? 'typed array'
            : T extends Error
              ? 'Error'
              : T extends PromiseLike<unknown>
                ? 'Promise'
                : T extends RegExp
                  ? 'RegExp'
                  : never

/** JSON sees neither symbols nor methods: a method is its class's, and no property of the instance. */
type IsSeen<T, Key extends keyof T> = Key extends symbol
  ? false
  : IsAny<T[Key]> extends true
    ? true
    : [Exclude<T[Key], undefined>] extends [never]
      ? true
      : [Exclude<T[Key], undefined>] extends [AnyFunction]
        ? false
        : true

type AnyFunction = (...given: never[]) => unknown
