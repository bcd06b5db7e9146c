// SPDX-License-Identifier: Apache-2.0
// Requests to the server.

/** What the server refused, with the items as they are now where an edit was out of date. */
export class Refused extends Error {
  constructor(status, body) {
    super(body.error || `the server answered ${status}`);
    this.status = status;
    this.items = body.items || [];
  }
}

async function answer(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    body = { error: `the server answered ${response.status}` };
  }
  if (!response.ok) throw new Refused(response.status, body);
  return body;
}

export async function read(path) {
  return answer(await fetch(path, { cache: "no-store" }));
}

export async function send(path, body) {
  const headers = { "content-type": "application/json", "x-avkit-annotate": "1" };
  return answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}
