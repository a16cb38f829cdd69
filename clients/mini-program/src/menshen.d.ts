// The types of the client. They need no types of the platform's, and take them where they are.

/** What the client needs of the platform: `wx` itself, or what an adapter makes of `uni` or `Taro`. */
export interface Platform {
  login(options: any): any;
  request(options: any): any;
  getStorageSync(key: string): any;
  setStorageSync(key: string, value: any): any;
  removeStorageSync(key: string): any;
  uploadFile?(options: any): any;
  downloadFile?(options: any): any;
  connectSocket?(options: any): any;
  checkSession?(options: any): any;
  getRandomValues?(options: any): any;
  authorize?(options: any): any;
  showModal?(options: any): any;
  openSetting?(options: any): any;
}

export interface ClientOptions {
  wx: Platform;
  /** Menshen's origin, such as `https://api.example.com`. */
  baseUrl: string;
  /** The app's name in Menshen's configuration; may be left out where it knows only one. */
  app?: string;
  /** Where Menshen's endpoints are: its `server.auth_path`. */
  authPath?: string;
  /** Whether the first request carries the code itself, which saves a round trip; for routes that need a login. */
  loginOnFirstRequest?: boolean;
  /** The path before those of each service of Cloud Run, for `callContainer`. */
  services?: Record<string, string>;
}

/** Why a call failed. `error` is Menshen's code, or one of the platform's kinds below. */
export interface MenshenError extends Error {
  /**
   * `unreachable`: the platform's call failed, or did not answer in time. `aborted`: by `abort()`. `denied`: the user
   * does not want it. `not_permitted`: the mini-program may not use the call. Anything else is Menshen's `error`.
   */
  error: 'unreachable' | 'aborted' | 'denied' | 'not_permitted' | (string & {});
  errMsg: string;
  errno?: number;
  statusCode?: number;
  requestId?: string;
  /** WeChat's number, where WeChat refused the login. */
  errcode?: number;
  /** After how many seconds to ask again. */
  retryAfter?: number;
  /** What the platform gave to `fail`. */
  cause?: unknown;
}

export type Headers = Record<string, any>;

export interface Answer<T = any> {
  data: T;
  statusCode: number;
  header: Headers;
  cookies?: string[];
  errMsg: string;
}

export interface UploadAnswer {
  data: string;
  statusCode: number;
  errMsg: string;
}

export interface DownloadAnswer {
  tempFilePath: string;
  filePath?: string;
  statusCode: number;
  errMsg: string;
}

export interface Callbacks<A> {
  success?: (answer: A) => void;
  fail?: (reason: MenshenError) => void;
  complete?: (outcome: A | MenshenError) => void;
}

export type Method = 'OPTIONS' | 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'TRACE' | 'CONNECT';

/** What `wx.request` takes, with a path as `url`. */
export interface RequestOptions<T = any> extends Callbacks<Answer<T>> {
  url: string;
  data?: string | object | ArrayBuffer;
  header?: Headers;
  method?: Method;
  timeout?: number;
  dataType?: string;
  responseType?: 'text' | 'arraybuffer';
  enableChunked?: boolean;
  [more: string]: any;
}

export interface UploadOptions extends Callbacks<UploadAnswer> {
  url: string;
  filePath: string;
  name: string;
  header?: Headers;
  formData?: Record<string, any>;
  timeout?: number;
  [more: string]: any;
}

export interface DownloadOptions extends Callbacks<DownloadAnswer> {
  url: string;
  filePath?: string;
  header?: Headers;
  timeout?: number;
  [more: string]: any;
}

export interface HeadersReceived {
  header: Headers;
  statusCode?: number;
  cookies?: string[];
}

export interface Progress {
  progress: number;
}

export interface UploadProgress extends Progress {
  totalBytesSent: number;
  totalBytesExpectedToSend: number;
}

export interface DownloadProgress extends Progress {
  totalBytesWritten: number;
  totalBytesExpectedToWrite: number;
}

export type Listener<E> = (event: E) => void;

/** The promise of an answer, which is the platform's task as well. */
export interface Task<A> extends Promise<A> {
  abort(): void;
  onHeadersReceived(listener: Listener<HeadersReceived>): void;
  offHeadersReceived(listener?: Listener<HeadersReceived>): void;
}

export interface RequestTask<T = any> extends Task<Answer<T>> {
  onChunkReceived(listener: Listener<{ data: ArrayBuffer }>): void;
  offChunkReceived(listener?: Listener<{ data: ArrayBuffer }>): void;
}

export interface UploadTask extends Task<UploadAnswer> {
  onProgressUpdate(listener: Listener<UploadProgress>): void;
  offProgressUpdate(listener?: Listener<UploadProgress>): void;
}

export interface DownloadTask extends Task<DownloadAnswer> {
  onProgressUpdate(listener: Listener<DownloadProgress>): void;
  offProgressUpdate(listener?: Listener<DownloadProgress>): void;
}

export interface SocketOptions {
  /** A path; its scheme follows from `baseUrl`. */
  url: string;
  header?: Headers;
  protocols?: string[];
  timeout?: number;
  success?: (result: any) => void;
  fail?: (reason: any) => void;
  complete?: (result: any) => void;
  [more: string]: any;
}

export interface SocketTask {
  send(message: {
    data: string | ArrayBuffer;
    success?: (result: any) => void;
    fail?: (reason: any) => void;
    complete?: (result: any) => void;
  }): void;
  close(how?: {
    code?: number;
    reason?: string;
    success?: (result: any) => void;
    fail?: (reason: any) => void;
    complete?: (result: any) => void;
  }): void;
  onOpen(listener: Listener<any>): void;
  offOpen(listener?: Listener<any>): void;
  onMessage(listener: Listener<{ data: string | ArrayBuffer }>): void;
  offMessage(listener?: Listener<{ data: string | ArrayBuffer }>): void;
  onError(listener: Listener<{ errMsg: string }>): void;
  offError(listener?: Listener<{ errMsg: string }>): void;
  /** 4401 says that the session has ended; connect again to log in. */
  onClose(listener: Listener<{ code: number; reason: string }>): void;
  offClose(listener?: Listener<{ code: number; reason: string }>): void;
}

/** The event of a button with `open-type="getPhoneNumber"`, or its `detail`. */
export type PhoneNumberEvent = { detail: PhoneNumberDetail } | PhoneNumberDetail;

export interface PhoneNumberDetail {
  code?: string;
  errMsg?: string;
  errno?: number;
  [more: string]: any;
}

export interface ContainerOptions<T = any> extends Callbacks<Answer<T>> {
  path: string;
  /** `X-WX-SERVICE` chooses one of `services`. */
  header?: Headers;
  method?: Method;
  data?: string | object | ArrayBuffer;
  timeout?: number;
  /** Of no use here. */
  config?: { env?: string };
  [more: string]: any;
}

export interface Client {
  request<T = any>(options: RequestOptions<T>): RequestTask<T>;
  uploadFile(options: UploadOptions): UploadTask;
  downloadFile(options: DownloadOptions): DownloadTask;
  connectSocket(options: SocketOptions): SocketTask;
  token(): Promise<string>;
  login(): Promise<void>;
  logout(options?: { everywhere?: boolean }): Promise<void>;
  /** True when WeChat's session still held; false when it did not, and there was a login. */
  checkSession(): Promise<boolean>;
  /**
   * Asks for a permission such as `scope.writePhotosAlbum`. True when it is there; false when the user does not want to give it,
   * although they were told why it is needed and led to the settings.
   */
  permission(scope: string, why: string): Promise<boolean>;
  phoneNumber<T = any>(event: PhoneNumberEvent, options: RequestOptions<T>): Promise<Answer<T>>;
  callContainer<T = any>(options: ContainerOptions<T>): RequestTask<T>;
  connectContainer(options: { path: string; service?: string; [more: string]: any }): Promise<{ socketTask: SocketTask }>;
}

export function createClient(options: ClientOptions): Client;

/** Tells whether a call of the platform's failed because the user does not want it. */
export function isDenied(reason: { errMsg?: string } | null | undefined): boolean;
