// Steps by themselves, against a vDC that runs already:
//
//   QUANTIX_PAGE=URL QUANTIX_PASSWORD=… [QUANTIX_ARTEFACTS=FOLDER] node web/e2e/people-steps.mjs
import { pathToFileURL } from "node:url";

async function timed(name, work) {
  const began = Date.now();
  await work();
  console.log(`ok   ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}

/** Runs them if their file, by its `import.meta.url`, is what node was started with. */
export async function alone(file, steps) {
  if (file !== pathToFileURL(process.argv[1]).href) return;
  const { QUANTIX_PAGE, QUANTIX_PASSWORD, QUANTIX_ARTEFACTS = "/tmp" } = process.env;
  const problems = await steps(QUANTIX_PAGE, `${QUANTIX_ARTEFACTS}/screens`, QUANTIX_PASSWORD, timed);
  for (const problem of new Set(problems)) console.log(`PROBLEM ${problem}`);
}
