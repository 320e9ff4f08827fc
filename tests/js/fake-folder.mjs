// The browser's private file system in memory, which can be killed after any of its operations or run out of room.

export class FakeFolder {
  kind = 'directory';
  #children = new Map();
  #shared;

  constructor(shared = { operations: 0, limit: Infinity, quota: Infinity }) {
    this.#shared = shared;
  }

  async getDirectory() {
    return this;
  }

  /** From now on, the operation after so many fails, and every later one: the tab is gone. */
  killAfter(operations) {
    Object.assign(this.#shared, { operations: 0, limit: operations });
  }

  /** No file may be longer than this from now on. */
  quota(bytes) {
    this.#shared.quota = bytes;
  }

  async getDirectoryHandle(name, { create = false } = {}) {
    return this.#get(name, create, () => new FakeFolder(this.#shared));
  }

  async getFileHandle(name, { create = false } = {}) {
    return this.#get(name, create, () => new FakeFile(this.#shared));
  }

  #get(name, create, make) {
    if (!this.#children.has(name)) {
      if (!create) throw new DOMException('there is no such file', 'NotFoundError');
      this.#children.set(name, make());
    }
    return this.#children.get(name);
  }

  async removeEntry(name) {
    this.#children.delete(name);
  }

  async *entries() {
    yield* this.#children;
  }
}

class FakeFile {
  kind = 'file';
  #bytes = new Uint8Array();
  #open = false;
  #shared;

  constructor(shared) {
    this.#shared = shared;
  }

  async getFile() {
    return new Blob([this.#bytes]);
  }

  async createSyncAccessHandle() {
    if (this.#open) throw new DOMException('it is open', 'NoModificationAllowedError');
    this.#open = true;
    const tick = () => {
      if (++this.#shared.operations > this.#shared.limit) {
        this.#open = false;
        throw new Error('killed');
      }
    };
    return {
      truncate: (length) => (tick(), (this.#bytes = this.#bytes.slice(0, length))),
      flush: () => tick(),
      // A write that is killed leaves half of its bytes.
      write: (bytes, { at }) => {
        const end = Math.min(at + bytes.length, this.#shared.quota);
        const longer = new Uint8Array(Math.max(this.#bytes.length, end));
        longer.set(this.#bytes);
        const half = this.#shared.operations + 1 > this.#shared.limit;
        longer.set(bytes.subarray(0, half ? Math.floor(bytes.length / 2) : Math.max(0, end - at)), at);
        this.#bytes = longer;
        tick();
        return Math.max(0, end - at);
      },
      close: () => (this.#open = false),
    };
  }
}
