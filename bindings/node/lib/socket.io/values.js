'use strict'
/**
 * A compact binary form of JavaScript values, for the messages between socket.io servers.
 *
 *     const writer = Writer.take()
 *     writer.value({ room: 1, blob: Buffer.from('x') })
 *     const bytes = writer.finish()
 *     new Reader(bytes).value()
 *
 * It keeps what JSON loses: Buffers at any depth, typed arrays, `undefined`, dates, maps, sets, big
 * integers, and whether a room is the number 1 or the string "1". Objects with a `toJSON` method
 * are replaced by its result, class instances arrive as plain objects, functions and symbols as
 * `undefined`.
 *
 * Each value begins with a byte that says what follows. The bytes come from the network: `Reader`
 * checks each length against what is there before it reserves memory, and refuses malformed bytes
 * with a DecodeError.
 */

/** The deepest nesting that both sides accept. */
const MAX_DEPTH = 256
/**
 * The most values in one message that both sides accept: an empty array takes one byte here, and 16
 * or more in memory.
 */
const MAX_VALUES = 1 << 20
/** The largest encoded message, in bytes. */
const MAX_BYTES = 64 << 20
/** The memory that a writer keeps between two messages, in bytes. */
const SCRATCH = 64 << 10

// The first byte of a value. Small integers, short strings and short collections have their number
// or length in this byte:
//   0x40..0x7f the numbers 0..63      0x80..0xbf a string of 0..63 bytes
//   0xc0..0xdf an array of 0..31      0xe0..0xff an object of 0..31 properties
const UNDEFINED = 0
const NULL = 1
const FALSE = 2
const TRUE = 3
const INT = 4
const DOUBLE = 5
const STRING = 6
const BUFFER = 7
const ARRAY = 8
const OBJECT = 9
const DATE = 10
const BIGINT = 11
const MAP = 12
const SET = 13
const ARRAY_BUFFER = 14
const VIEW = 15

const VIEWS = [
  Uint8Array,
  Int8Array,
  Uint8ClampedArray,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Float64Array,
  BigUint64Array,
  BigInt64Array,
  DataView
]

/** Bytes that cannot be decoded. */
class DecodeError extends Error {}

/** Encodes values, one behind the other, into one Buffer. */
class Writer {
  constructor() {
    this.buffer = Buffer.allocUnsafeSlow(SCRATCH)
    this.length = 0
    /** The objects that the present value is inside of. */
    this.ancestors = []
    this.values = 0
  }

  /**
   * Returns an empty writer. One writer is shared. A call while it is in use, by a `toJSON` that
   * emits, gets a new one.
   */
  static take() {
    const writer = shared ?? new Writer()
    shared = undefined
    return writer
  }

  /** Returns a copy of what was written, and releases the writer. */
  finish() {
    const bytes = Buffer.allocUnsafe(this.length)
    this.buffer.copy(bytes, 0, 0, this.length)
    this.release()
    return bytes
  }

  /** Makes the writer available again. The values that were written are lost. */
  release() {
    this.length = 0
    this.values = 0
    this.ancestors.length = 0
    if (this.buffer.length > SCRATCH) this.buffer = Buffer.allocUnsafeSlow(SCRATCH)
    shared = this
  }

  /** Makes room for more bytes. */
  reserve(bytes) {
    const needed = this.length + bytes
    if (needed <= this.buffer.length) return
    if (needed > MAX_BYTES) {
      throw new RangeError(`a message is larger than ${MAX_BYTES} bytes; send it in parts`)
    }
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.buffer.length * 2))
    this.buffer.copy(larger, 0, 0, this.length)
    this.buffer = larger
  }

  byte(value) {
    this.reserve(1)
    this.buffer[this.length++] = value
  }

  /** Writes an integer of up to 53 bits, 7 bits per byte. */
  varint(value) {
    this.reserve(8)
    const { buffer } = this
    while (value > 0x7fffffff) {
      buffer[this.length++] = (value % 128) | 0x80
      value = Math.floor(value / 128)
    }
    while (value > 0x7f) {
      buffer[this.length++] = (value & 0x7f) | 0x80
      value >>>= 7
    }
    buffer[this.length++] = value
  }

  /** Writes bytes without their length. */
  raw(bytes) {
    this.reserve(bytes.length)
    this.buffer.set(bytes, this.length)
    this.length += bytes.length
  }

  /** Writes a string with its length in front. */
  text(value) {
    const start = this.length
    this.reserve(value.length * 3 + 8)
    // At most 42 characters have at most 126 bytes, so the length takes one byte and is set
    // afterwards. Only a longer string is measured first.
    if (value.length < 43) {
      const written = this.buffer.write(value, start + 1)
      this.buffer[start] = written
      this.length = start + 1 + written
    } else {
      this.varint(Buffer.byteLength(value))
      this.length += this.buffer.write(value, this.length)
    }
  }

  /** Writes any value. */
  value(value) {
    if (++this.values > MAX_VALUES) {
      throw new RangeError(`a message has more than ${MAX_VALUES} values; send it in parts, or as one Buffer`)
    }
    switch (typeof value) {
      case 'string':
        return this.string(value)
      case 'number':
        return this.number(value)
      case 'boolean':
        return this.byte(value ? TRUE : FALSE)
      case 'bigint':
        this.byte(BIGINT)
        return this.text(value.toString(16))
      case 'object':
        return value === null ? this.byte(NULL) : this.object(value)
      default:
        return this.byte(UNDEFINED)
    }
  }

  /**
   * Writes a string as a value. Short ASCII strings, which are most of them, are copied directly.
   */
  string(value) {
    const { length } = value
    this.reserve(length * 3 + 8)
    const { buffer } = this
    const start = this.length
    if (length < 22) {
      let i = 0
      for (; i < length; i++) {
        const code = value.charCodeAt(i)
        if (code > 0x7f) break
        buffer[start + 1 + i] = code
      }
      const written = i === length ? length : buffer.write(value, start + 1)
      if (written < 64) {
        buffer[start] = 0x80 | written
        this.length = start + 1 + written
        return
      }
    }
    const bytes = Buffer.byteLength(value)
    if (bytes < 64) {
      buffer[this.length++] = 0x80 | bytes
    } else {
      buffer[this.length++] = STRING
      this.varint(bytes)
    }
    this.length += this.buffer.write(value, this.length)
  }

  /** Writes a number as a value: an integer where it is one of 32 bits, else a double. */
  number(value) {
    if ((value | 0) === value && !Object.is(value, -0)) {
      if (value >= 0 && value < 64) return this.byte(0x40 | value)
      this.byte(INT)
      return this.varint(value < 0 ? -value * 2 - 1 : value * 2)
    }
    this.reserve(9)
    this.buffer[this.length++] = DOUBLE
    this.length = this.buffer.writeDoubleLE(value, this.length)
  }

  object(value) {
    if (Array.isArray(value)) {
      return this.nested(value, () => {
        this.count(0xc0, ARRAY, value.length)
        for (let i = 0; i < value.length; i++) this.value(value[i])
      })
    }
    if (ArrayBuffer.isView(value)) return this.view(value)
    if (value instanceof ArrayBuffer) {
      return this.bytes(ARRAY_BUFFER, new Uint8Array(value))
    }
    if (value instanceof Date) {
      this.reserve(9)
      this.buffer[this.length++] = DATE
      this.length = this.buffer.writeDoubleLE(value.getTime(), this.length)
      return
    }
    if (value instanceof Map) {
      return this.nested(value, () => {
        this.byte(MAP)
        this.varint(value.size)
        for (const [key, item] of value) {
          this.value(key)
          this.value(item)
        }
      })
    }
    if (value instanceof Set) {
      return this.nested(value, () => {
        this.byte(SET)
        this.varint(value.size)
        for (const item of value) this.value(item)
      })
    }
    if (typeof value.toJSON === 'function') {
      return this.nested(value, () => this.value(value.toJSON()))
    }
    return this.nested(value, () => {
      const keys = Object.keys(value)
      this.count(0xe0, OBJECT, keys.length)
      for (const key of keys) {
        this.text(key)
        this.value(value[key])
      }
    })
  }

  /** Writes what is inside of `value`, which must not contain itself. */
  nested(value, write) {
    const { ancestors } = this
    if (ancestors.includes(value)) throw new TypeError('a value contains itself; send one without the circle')
    if (ancestors.length === MAX_DEPTH) {
      throw new RangeError(`values are nested deeper than ${MAX_DEPTH}`)
    }
    ancestors.push(value)
    write()
    ancestors.pop()
  }

  /** Writes the kind and size of a collection: in one byte if it is short. */
  count(short, long, count) {
    if (count < 32) return this.byte(short | count)
    this.byte(long)
    this.varint(count)
  }

  /** Writes a Buffer, a typed array or a DataView. */
  view(value) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    if (Buffer.isBuffer(value)) return this.bytes(BUFFER, bytes)
    const kind = VIEWS.findIndex((View) => value instanceof View)
    // A kind of view that is newer than this list arrives as a Buffer.
    if (kind < 0) return this.bytes(BUFFER, bytes)
    this.byte(VIEW)
    return this.bytes(kind, bytes)
  }

  /** Writes bytes with a tag and their length in front. */
  bytes(tag, bytes) {
    this.byte(tag)
    this.varint(bytes.length)
    this.raw(bytes)
  }
}

/** The shared writer, while it is not in use. */
let shared = new Writer()

/** Decodes what Writer wrote. Each method throws a DecodeError on malformed bytes. */
class Reader {
  constructor(buffer, offset = 0, end = buffer.length) {
    this.buffer = buffer
    this.offset = offset
    this.end = end
    this.depth = 0
    this.values = 0
  }

  byte() {
    if (this.offset >= this.end) throw new DecodeError('the message ends early')
    return this.buffer[this.offset++]
  }

  varint() {
    let value = 0
    let factor = 1
    for (;;) {
      const byte = this.byte()
      value += (byte & 0x7f) * factor
      if (byte < 0x80) break
      factor *= 128
      if (factor > 2 ** 49) throw new DecodeError('a number is too long')
    }
    if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError('a number is too large')
    return value
  }

  /** Skips `count` bytes, which must be there, and returns where they begin. */
  skip(count) {
    const start = this.offset
    if (count > this.end - start) throw new DecodeError('the message ends early')
    this.offset = start + count
    return start
  }

  text(length = this.varint()) {
    const start = this.skip(length)
    return this.buffer.toString('utf8', start, this.offset)
  }

  double() {
    return this.buffer.readDoubleLE(this.skip(8))
  }

  /**
   * Returns a view of bytes that have their length in front. It shares the memory of the message.
   */
  bytes() {
    const start = this.skip(this.varint())
    return this.buffer.subarray(start, this.offset)
  }

  /** Returns `count`, after checking that as many items of at least `size` bytes can follow. */
  items(count, size) {
    if (count * size > this.end - this.offset) throw new DecodeError('the message ends early')
    return count
  }

  /** Returns the next value. */
  value() {
    if (++this.values > MAX_VALUES) throw new DecodeError('the message has too many values')
    const tag = this.byte()
    if (tag >= 0x40) {
      if (tag < 0x80) return tag & 0x3f
      if (tag < 0xc0) return this.text(tag & 0x3f)
      if (tag < 0xe0) return this.array(tag & 0x1f)
      return this.object(tag & 0x1f)
    }
    switch (tag) {
      case UNDEFINED:
        return undefined
      case NULL:
        return null
      case FALSE:
        return false
      case TRUE:
        return true
      case INT: {
        const value = this.varint()
        return value % 2 === 0 ? value / 2 : -(value + 1) / 2
      }
      case DOUBLE:
        return this.double()
      case STRING:
        return this.text()
      case BUFFER:
        return Buffer.from(this.bytes())
      case ARRAY:
        return this.array(this.varint())
      case OBJECT:
        return this.object(this.varint())
      case DATE:
        return new Date(this.double())
      case BIGINT:
        return this.bigint()
      case MAP:
        return this.map(this.items(this.varint(), 2))
      case SET:
        return this.set(this.items(this.varint(), 1))
      case ARRAY_BUFFER:
        return own(this.bytes())
      case VIEW:
        return this.view()
      default:
        throw new DecodeError(`value kind ${tag} is unknown`)
    }
  }

  /** Enters a nested value. */
  enter() {
    if (++this.depth > MAX_DEPTH) throw new DecodeError('values are nested too deep')
  }

  array(count) {
    this.enter()
    const array = new Array(this.items(count, 1))
    for (let i = 0; i < count; i++) array[i] = this.value()
    this.depth--
    return array
  }

  object(count) {
    this.enter()
    const object = {}
    for (let left = this.items(count, 2); left > 0; left--) {
      const key = this.text()
      const value = this.value()
      if (key === '__proto__') {
        // An assignment would set the prototype of the object.
        Object.defineProperty(object, key, {
          value,
          writable: true,
          enumerable: true,
          configurable: true
        })
      } else {
        object[key] = value
      }
    }
    this.depth--
    return object
  }

  map(count) {
    this.enter()
    const map = new Map()
    for (; count > 0; count--) {
      const key = this.value()
      map.set(key, this.value())
    }
    this.depth--
    return map
  }

  set(count) {
    this.enter()
    const set = new Set()
    for (; count > 0; count--) set.add(this.value())
    this.depth--
    return set
  }

  bigint() {
    const text = this.text()
    // Parsing takes time quadratic in the length, so the length is limited.
    if (!/^-?[0-9a-f]{1,4096}$/.test(text)) throw new DecodeError('a big integer is malformed')
    return text[0] === '-' ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`)
  }

  view() {
    const View = VIEWS[this.byte()]
    if (!View) throw new DecodeError('a typed array has an unknown kind')
    const bytes = own(this.bytes())
    const size = View.BYTES_PER_ELEMENT ?? 1
    if (bytes.byteLength % size !== 0) throw new DecodeError('a typed array ends early')
    return new View(bytes)
  }
}

/** Returns an ArrayBuffer with a copy of the bytes. */
function own(bytes) {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
}

module.exports = { Writer, Reader, DecodeError }
