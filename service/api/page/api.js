/** The service, asked; and what went wrong, in words. */

/** The longest wait for an answer, in milliseconds: longer than the service's own, so that its answer comes first. */
const PATIENCE = 60_000;

/** Something that went wrong, in words for whoever asked. */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {string|Array|undefined} detail what the service said is wrong with the request, as it said it
   */
  constructor(message, detail) {
    super(message);
    this.detail = detail;
  }
}

/**
 * The address of a route, relative to the page, so that it holds behind a proxy's prefix.
 * @param {string} path without a slash in front
 * @param {{model?: string, version?: string}} selection
 */
export function address(path, selection = {}) {
  const query = new URLSearchParams(Object.entries(selection).filter(([, value]) => value)).toString();
  return new URL(query ? `${path}?${query}` : path, document.baseURI).href;
}

/**
 * Ask for JSON.
 * @param {string} url
 * @param {{body?: string, signal?: AbortSignal}} [options] with a body, it is posted
 * @throws {Problem}
 */
export async function ask(url, { body, signal } = {}) {
  const timeout = AbortSignal.timeout(PATIENCE);
  const request = {
    headers: { Accept: "application/json", ...(body !== undefined && { "Content-Type": "application/json" }) },
    method: body === undefined ? "GET" : "POST",
    body,
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  };
  let response;
  let answer;
  try {
    response = await fetch(url, request);
    answer = await response.json().catch((error) => {
      if (error.name !== "SyntaxError") throw error;
      return {}; // what is between the page and the service may answer something else
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (timeout.aborted) throw new Problem("The service has not answered for a minute. Try again later.");
    throw new Problem("The service cannot be reached. Is it running, and is the network up?");
  }
  if (response.ok) return answer;
  throw new Problem(inWords(response, answer.detail), response.status === 422 ? answer.detail : undefined);
}

function inWords(response, detail) {
  const said = Array.isArray(detail) ? detail.map((problem) => problem.msg).join("; ") : detail;
  const because = said ? `: ${said}` : ".";
  switch (response.status) {
    case 429: {
      const seconds = response.headers.get("Retry-After");
      return `The service has too much waiting already. Try again${seconds ? ` in ${seconds} s` : " later"}${because}`;
    }
    case 503:
      return `No model can answer now${because}`;
    case 504:
      return `The answer took too long${because}`;
    default:
      return said ?? `The service answered with status ${response.status}.`;
  }
}
