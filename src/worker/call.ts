/**
 * What a listener hears when all consumers of a queue are called, those that doze as well (doze.ts). A put's
 * notification is the queue's name. A queue may have any name, this one too: whoever is called by mistake claims once.
 */
export function callOf(queue: string): string {
  return `! ${queue}`
}
