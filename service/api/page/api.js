/** Requests to the service. Errors have messages for people. */

import { authorization, hasKey, needKey } from "./key.js";
import { say } from "./text.js";

/** In milliseconds. Longer than the timeout of the service, so that its answer comes first. */
const TIMEOUT = 60_000;

/** An error whose message is shown to people. */
export class Problem extends Error {
  /**
   * @param {string} message
   * @param {string|undefined} detail the service's description of the error in the request
   * @param {number|undefined} status the status of the answer
   */
  constructor(message, detail, status) {
    super(message);
    this.detail = detail;
    this.status = status;
  }
}

/**
 * Return the URL of a route. It is relative to the page, so it also works behind a path prefix of a proxy.
 * @param {string} path without a leading slash
 * @param {{model?: string, version?: string}} selection
 */
export function address(path, selection = {}) {
  const query = new URLSearchParams(Object.entries(selection).filter(([, value]) => value)).toString();
  return new URL(query ? `${path}?${query}` : path, document.baseURI).href;
}

/**
 * Send a request and return the JSON of its answer.
 * @param {string} url
 * @param {{body?: string, type?: string, signal?: AbortSignal}} [options] a request with a body of a type is a POST
 * @throws {Problem}
 */
export async function ask(url, { body, type, signal } = {}) {
  const timeout = AbortSignal.timeout(TIMEOUT);
  const request = {
    headers: { Accept: "application/json", ...authorization(), ...(body !== undefined && { "Content-Type": type }) },
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
      return {}; // a proxy may answer with something else
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (timeout.aborted) throw new Problem(say("error.timeout"));
    throw new Problem(say("error.unreachable"));
  }
  if (response.ok) return answer;
  if (response.status === 401) needKey();
  throw new Problem(messageOf(response, answer.detail), response.status === 422 ? answer.detail : undefined, response.status);
}

/** Return a chart that the service draws, as the address of an image; null if the service does not draw it. */
export async function drawing(chart, selection) {
  const headers = { Accept: "image/svg+xml", ...authorization() };
  const answer = await fetch(address("attention", { ...selection, chart }), { headers }).catch(() => null);
  return answer?.ok ? `data:image/svg+xml,${encodeURIComponent(await answer.text())}` : null;
}

function messageOf(response, detail) {
  const because = (text) => (detail ? `${text}: ${detail}` : `${text}.`);
  switch (response.status) {
    case 401:
      return hasKey() ? say("error.wrong_key") : say("error.no_key");
    case 429: {
      const seconds = response.headers.get("Retry-After");
      return because(seconds ? say("error.busy_for", { seconds }) : say("error.busy"));
    }
    case 503:
      return because(say("error.no_model"));
    case 504:
      return because(say("error.too_long"));
    default:
      // A position is one in the body that the page sent; the page marks it in the typed text.
      return detail?.replace(/^position \d+: /, "") ?? say("error.status", { status: response.status });
  }
}
