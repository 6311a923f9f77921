/** The API of requests as one of the people calls it, straight over HTTP. */
import { RequestInfo, RequestList, type Approve } from '../../src/api/request-api.ts';
import type { RelayFixture } from './fixture.ts';

export class DeskClient {
  constructor(
    private readonly fixture: RelayFixture,
    private readonly account: string,
  ) {}

  /** The request of a held statement, once it waits. */
  async waiting(session: string): Promise<RequestInfo> {
    for (let attempt = 0; attempt < 1000; attempt++) {
      const { requests } = RequestList.parse(await this.#call('GET', '/v1/requests?state=pending&limit=100'));
      for (const { id } of requests) {
        const request = await this.request(id);
        if (request.statement?.session === session && request.state === 'pending') return request;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    throw new Error(`no statement of ${session} came to wait`);
  }

  async request(id: string): Promise<RequestInfo> {
    return RequestInfo.parse(await this.#call('GET', `/v1/requests/${id}`));
  }

  async approve(id: string, body: Approve = {}): Promise<RequestInfo> {
    return RequestInfo.parse(await this.#call('POST', `/v1/requests/${id}/approve`, body));
  }

  async deny(id: string, reason: string): Promise<RequestInfo> {
    return RequestInfo.parse(await this.#call('POST', `/v1/requests/${id}/deny`, { reason }));
  }

  async revoke(grant: string, reason: string): Promise<unknown> {
    return this.#call('POST', `/v1/grants/${grant}/revoke`, { reason });
  }

  async #call(method: string, path: string, body?: unknown): Promise<unknown> {
    const token = await (await this.fixture.clientFor(this.account)).accessToken();
    const response = await fetch(`${this.fixture.relayUrl}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}` },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const answer = (await response.json()) as { error?: { message: string } };
    if (!response.ok) throw new Error(answer.error?.message);
    return answer;
  }
}
