/** The predictor of `mmsent serve`: it calls the service that served this page. */

const SERVICE = new URL("../", import.meta.url);

let key = "";

/** @type {import("./types.d.ts").Predictor} */
export const predictor = {
  where: `Your text and image go to ${SERVICE.host} and nowhere else; mmsent keeps neither.`,
  manual: new URL("docs", SERVICE).href,

  async models({ signal }) {
    const { models } = await ask("v2", { signal });
    return Promise.all(
      models.map(async (/** @type {string} */ name) => {
        const { parameters } = await ask(`v2/models/${encodeURIComponent(name)}`, { signal });
        return { name, optional: parameters.optional, resize: parameters.resize };
      }),
    );
  },

  predict: (pair, { model, signal }) => post("predict", pair, model, signal),

  explain: (pair, { model, signal }) => post("explain", pair, model, signal),

  useKey(given) {
    key = given;
  },
};

/**
 * @param {string} path
 * @param {import("./types.d.ts").Pair} pair
 * @param {string} model
 * @param {AbortSignal} signal
 */
function post(path, { text, image }, model, signal) {
  const body = new FormData();
  // As a file: in an ordinary form field, every line would end in CR LF.
  if (text) body.append("text", new Blob([text]));
  if (image) body.append("image", image);
  return ask(`${path}?model=${encodeURIComponent(model)}`, { method: "POST", body, signal });
}

/**
 * The service's JSON response.
 * @param {string} path
 * @param {RequestInit} request
 */
async function ask(path, request) {
  const headers = new Headers({ accept: "application/json, application/problem+json" });
  if (key) headers.set("authorization", `Bearer ${key}`);
  let answer;
  try {
    answer = await fetch(new URL(path, SERVICE), { ...request, headers, cache: "no-store" });
  } catch (error) {
    if (request.signal?.aborted) throw error;
    throw new Error(`${SERVICE.host} does not answer, or closed the connection; try again`);
  }
  if (answer.ok) return answer.json();
  const error = new Error(await reason(answer));
  if (answer.status === 401) error.name = "KeyRequired";
  throw error;
}

/**
 * Why the service, or a proxy in front of it, refuses.
 * @param {Response} answer
 */
async function reason(answer) {
  const problem = await answer.json().catch(() => null);
  return problem?.detail ?? `the service answered ${answer.status} ${answer.statusText}`.trimEnd();
}
