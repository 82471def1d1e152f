import { api, data, renewBy } from './api';
import { Problem, problemOf } from './problem';
import type { User } from './types';

const renewBefore = 60_000; // ms before the access token ends
const tryAgain = 3_000; // ms
const mark = 'signed-in'; // in localStorage: whether a cookie may be there

/** Who is signed in on this browser. The tokens are in cookies; this knows only whose they are. */
class Session {
  user = $state<User | null>(null);
  /** Whether it is known yet if somebody is signed in. */
  known = $state(false);
  /** Whether sign-in through the organisation's own provider is offered. */
  elsewhere = $state(false);
  /** Somebody was signed in here, and the login has ended. */
  ended = $state(false);
  /** The login's token was renewed so often: a live session began with an older one. */
  renewals = $state(0);
  #until = 0;
  #renewing: Promise<boolean> | null = null;

  constructor() {
    renewBy(() => this.renew());
    setInterval(() => {
      if (this.user && Date.now() > this.#until - renewBefore) void this.renew().catch(() => false);
    }, 10_000);
  }

  /** Whether somebody was signed in here and has not signed out, as far as this browser knows. */
  get marked() { return localStorage.getItem(mark) !== null; }

  /** Finds out who is signed in; where that cannot be known yet, goes on trying behind the sign-in form. */
  async begin() {
    api.GET('/api/v1/auth').then(({ data }) => { this.elsewhere = data?.oidc ?? false; }, () => {});
    try {
      if (this.marked && (await this.renew()) && !this.user) {
        this.#keep(await data(api.GET('/api/v1/me')), 120); // another page has just renewed it
      }
    } catch {
      setTimeout(() => { if (!this.user) void this.begin(); }, tryAgain);
    } finally {
      this.known = true;
    }
  }

  async signIn(email: string, password: string) {
    const login = await data(api.POST('/api/v1/auth/login', { body: { email, password, cookie: true } }));
    this.#keep(login.user, login.expires_in);
  }

  /** Signs out; throws a Problem where that was refused, for then somebody is signed in still. */
  async signOut() {
    const leave = () => data(api.POST('/api/v1/auth/logout'));
    try {
      await leave();
    } catch (error) {
      const { code } = problemOf(error);
      if (code !== 'unauthenticated' && code !== 'token_expired') throw error;
      if (!(await this.renew())) return; // the login has ended by itself
      await leave();
    }
    this.#forget();
  }

  /** Renews the login; false where it has ended. A refresh token works once: one renewal at a time. */
  renew(): Promise<boolean> {
    this.#renewing ??= this.#renew().finally(() => { this.#renewing = null; });
    return this.#renewing;
  }

  async #renew(): Promise<boolean> {
    const { data: login, response } = await api.POST('/api/v1/auth/refresh', { body: { cookie: true } });
    if (response.status === 401) {
      this.ended ||= this.user !== null;
      this.#forget();
      return false;
    }
    if (!response.ok || !login) {
      if (response.status === 503) return true; // another page of this browser may have renewed it just now
      throw new Problem('unavailable');
    }
    this.#keep(login.user, login.expires_in);
    this.renewals++;
    return true;
  }

  #keep(user: User, seconds: number) {
    this.user = user;
    this.ended = false;
    this.#until = Date.now() + seconds * 1000;
    localStorage.setItem(mark, 'yes');
  }

  #forget() {
    this.user = null;
    localStorage.removeItem(mark);
  }
}

export const session = new Session();
