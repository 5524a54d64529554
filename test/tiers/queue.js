// How kernels share the CPUs: User-Mode Linux uses one, and as many run at a time as there are CPUs.

/**
 * Deals the files out, one after the other, as cards: what lies beside each other in the list comes to different hands.
 *
 * @template T
 * @param {readonly T[]} files @param {number} hands
 * @returns {T[][]} no more hands than files, none of them empty
 */
export function deal(files, hands) {
  const count = Math.min(hands, files.length);
  return Array.from({ length: count }, (_, hand) => files.filter((_, index) => index % count === hand));
}

/**
 * Runs the jobs in their order, one at a time on each CPU: a CPU that is done takes the next. Jobs that are `wide` want
 * all CPUs, and come last, one by one.
 *
 * @template {{wide?: boolean}} T
 * @param {readonly T[]} jobs @param {readonly number[]} cpus @param {(job: T, cpu: number) => Promise<boolean>} run
 * @returns {Promise<boolean>} whether all went well
 */
export async function shareCpus(jobs, cpus, run) {
  const queue = jobs.filter(({ wide = false }) => !wide);
  const wide = jobs.filter(({ wide: all = false }) => all);
  let good = true;
  const take = async (/** @type {T[]} */ from, /** @type {number} */ cpu) => {
    for (let job = from.shift(); job !== undefined; job = from.shift()) good = await run(job, cpu) && good;
  };
  await Promise.all(cpus.map((cpu) => take(queue, cpu)));
  await take(wide, cpus[0] ?? 0);
  return good;
}
