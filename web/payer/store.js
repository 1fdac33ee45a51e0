// What this browser keeps of its payer: who it is, its allowances, and every voucher it reserved and signed.
//
// Each method is one IndexedDB transaction, and a write is on the disk before it answers. `reserve` is the guard of the
// money: counter, running total and payload in one transaction that another tab's reservation makes fail.
//
// self: pair (CryptoKeyPair), me {party, name, device, rootKid, rootKey}, bundle (its wire), asking {key, body}.
// allowances: aid, wire, counter, cum, lastH (null before the first), state active | surrendering | ended, takenAt.
// vouchers: aid, counter, h, terminal, nonce, requestHash, amount, ccy, payeeName, raw, sig (null: reserved), signed,
// reservedAt, proof (a receipt's or void's text, or null), witnessed (0 or 1). Ids are hex, raw bytes Uint8Array.

const VERSION = 1;

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function make(db) {
  db.createObjectStore("self");
  db.createObjectStore("allowances", { keyPath: "aid" }).createIndex("state", "state");
  const vouchers = db.createObjectStore("vouchers", { keyPath: ["aid", "counter"] });
  vouchers.createIndex("question", ["terminal", "nonce"], { unique: true });
  vouchers.createIndex("h", "h", { unique: true });
  vouchers.createIndex("signed", "signed");
}

export class Store {
  static async open(name = "hundi-payer") {
    const asked = indexedDB.open(name, VERSION);
    asked.onupgradeneeded = () => make(asked.result);
    const db = await done(asked);
    db.onversionchange = () => db.close();
    return new Store(db);
  }

  constructor(db) {
    this.db = db;
  }

  /** What `work` gives, once its transaction is on the disk. It may await nothing but requests of this transaction. */
  async transact(mode, work) {
    const tx = this.db.transaction(["self", "allowances", "vouchers"], mode, { durability: "strict" });
    const ended = new Promise((resolve, reject) => {
      tx.oncomplete = resolve;
      tx.onabort = () => reject(tx.error ?? new Error("the transaction was given up"));
    });
    try {
      const value = await work((name) => tx.objectStore(name));
      await ended;
      return value;
    } catch (error) {
      ended.catch(() => {});
      if (!tx.error) {
        try {
          tx.abort();
        } catch {
          // it has ended already
        }
      }
      throw error;
    }
  }

  read(work) {
    return this.transact("readonly", work);
  }

  write(work) {
    return this.transact("readwrite", work);
  }

  get(what) {
    return this.read((of) => done(of("self").get(what)));
  }

  put(what, value) {
    return this.write((of) => done(of("self").put(value, what)));
  }

  /** `value` unless there is one already; what stands there now. */
  putOnce(what, value) {
    return this.write(async (of) => {
      const held = await done(of("self").get(what));
      if (held === undefined) await done(of("self").put(value, what));
      return held ?? value;
    });
  }

  forget(what) {
    return this.write((of) => done(of("self").delete(what)));
  }

  /** The one allowance that is not over, or undefined. */
  usable() {
    return this.read(async (of) => {
      const states = of("allowances").index("state");
      return (await done(states.get("active"))) ?? done(states.get("surrendering"));
    });
  }

  allowance(aid) {
    return this.read((of) => done(of("allowances").get(aid)));
  }

  /** Keep an issued allowance and forget that it was asked for. One that was here before is refused. */
  take(aid, wire, takenAt) {
    const row = { aid, wire, counter: 0, cum: 0, lastH: null, state: "active", takenAt };
    return this.write(async (of) => {
      await done(of("allowances").add(row));
      await done(of("self").delete("asking"));
    });
  }

  setState(aid, state) {
    return this.write(async (of) => {
      const row = await done(of("allowances").get(aid));
      await done(of("allowances").put({ ...row, state }));
    });
  }

  /**
   * Take counter, amount and place in the chain for one payload, for ever. False, and nothing written, if the allowance
   * is no longer as `seen` was, or the terminal's question was answered meanwhile.
   */
  reserve(seen, voucher) {
    return this.write(async (of) => {
      const now = await done(of("allowances").get(seen.aid));
      const asked = await done(of("vouchers").index("question").getKey([voucher.terminal, voucher.nonce]));
      const unmoved = now?.state === "active" && now.counter === seen.counter && now.cum === seen.cum;
      if (!unmoved || asked !== undefined) return false;
      const counter = seen.counter + 1;
      await done(of("vouchers").add({ ...voucher, aid: seen.aid, counter, sig: null, signed: 0 }));
      const cum = seen.cum + voucher.amount;
      await done(of("allowances").put({ ...now, counter, cum, lastH: voucher.h }));
      return true;
    });
  }

  /** The voucher with its signature: the first one stored stays. */
  sign(aid, counter, sig) {
    return this.write(async (of) => {
      const row = await done(of("vouchers").get([aid, counter]));
      if (row.sig !== null) return row;
      const signed = { ...row, sig, signed: 1 };
      await done(of("vouchers").put(signed));
      return signed;
    });
  }

  answered(terminal, nonce) {
    return this.read((of) => done(of("vouchers").index("question").get([terminal, nonce])));
  }

  byHash(h) {
    return this.read((of) => done(of("vouchers").index("h").get(h)));
  }

  reserved() {
    return this.read((of) => done(of("vouchers").index("signed").getAll(0)));
  }

  /** Every voucher, the newest first. */
  async vouchers() {
    const rows = await this.read((of) => done(of("vouchers").getAll()));
    return rows.sort((a, b) => b.reservedAt - a.reservedAt || b.counter - a.counter);
  }

  change(h, changes) {
    return this.write(async (of) => {
      const row = await done(of("vouchers").index("h").get(h));
      await done(of("vouchers").put({ ...row, ...changes }));
    });
  }
}
