/**
 * A client of the service with time limits and retries, for Node and browsers. It needs no package; copy the file.
 *
 *     node examples/client.mjs http://127.0.0.1:8000
 */

/** Answers after which the same request may succeed: too many requests, and no model for the moment. */
const TEMPORARY = new Set([429, 503]);
/** Wait before the second attempt in milliseconds, where the service says nothing. It doubles from attempt to attempt. */
const FIRST_WAIT = 100;

/** The service refused a request. The message is the service's own, and `status` the HTTP status. */
export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "ServiceError";
    this.status = status;
  }
}

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/** A client of one service. */
export class Client {
  /**
   * @param {string} url the address of the service
   * @param {object} options
   * @param {string} [options.model] the model to ask; the service's default without it
   * @param {string} [options.key] the key, where the service asks for one
   * @param {number} [options.timeout] longest time of a call with all its attempts, in milliseconds
   * @param {number} [options.attempts] most attempts of a call; a prediction changes nothing, so it may be sent again
   * @param {(milliseconds: number) => Promise<void>} [options.sleep] waits
   */
  constructor(url, { model, key, timeout = 10_000, attempts = 5, sleep = pause } = {}) {
    this.url = url.replace(/\/$/, "");
    this.query = model ? `?model=${encodeURIComponent(model)}` : "";
    this.headers = key ? { Authorization: `Bearer ${key}` } : {};
    Object.assign(this, { timeout, attempts, sleep });
  }

  /** Return example sequences of the model, `[n][timesteps][features]`. */
  async example(options = {}) {
    return (await this.call("/model/example", {}, options)).sequences;
  }

  /**
   * Return the answer for each sequence, with `prediction`, `attention` and, for classes, `label`.
   *
   * @param {number[][][]} sequences `[n][timesteps][features]`, in raw units
   * @param {object} [fields] other fields of `POST /predict`, such as `{ importance: true }`
   * @param {{ signal?: AbortSignal }} [options] a signal of yours that ends the call
   * @throws {ServiceError} the request is wrong, or the service refused every attempt
   * @throws {TypeError | DOMException} there was no connection, or no answer in time
   */
  async predict(sequences, fields = {}, options = {}) {
    const body = JSON.stringify({ sequences, ...fields });
    const headers = { "Content-Type": "application/json" };
    return (await this.call("/predict", { method: "POST", headers, body }, options)).predictions;
  }

  /** Return the JSON of an answer, after as many attempts as it needs, within the time limit. */
  async call(path, { headers, ...request }, { signal }) {
    const deadline = Date.now() + this.timeout;
    const limit = AbortSignal.timeout(this.timeout);
    const signals = signal ? AbortSignal.any([limit, signal]) : limit;
    for (let attempt = 1; ; attempt += 1) {
      let wait = FIRST_WAIT * 2 ** (attempt - 1) * (1 + Math.random());
      let error;
      try {
        const answer = await fetch(this.url + path + this.query, {
          ...request,
          headers: { ...this.headers, ...headers },
          signal: signals,
        });
        if (answer.ok) return await answer.json();
        error = new ServiceError(answer.status, await answer.text());
        if (!TEMPORARY.has(answer.status)) throw error;
        wait = Number(answer.headers.get("Retry-After")) * 1000 || wait;
      } catch (failure) {
        if (failure instanceof ServiceError || signals.aborted) throw failure;
        error = failure; // no connection
      }
      if (attempt >= this.attempts || Date.now() + wait > deadline) throw error;
      await this.sleep(wait);
    }
  }
}

if (globalThis.process?.argv[1]?.endsWith("client.mjs")) {
  const client = new Client(globalThis.process.argv[2]);
  for (const { label, prediction, importance } of await client.predict(await client.example(), { importance: true })) {
    console.log(label, prediction, importance);
  }
}
