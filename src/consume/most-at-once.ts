/**
 * Outcomes per statement, and jobs that one claim asks for beyond the slots. More gain little
 * (`npm run bench -- throughput`), and each one takes time in which the server's other statements, and this process's
 * other work, wait.
 */
export const mostAtOnce = 500
