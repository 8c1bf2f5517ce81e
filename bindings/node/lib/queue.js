'use strict'
/**
 * First-in, first-out queues. An item is taken from the front in constant time: the front is an
 * index, and the array is shortened only when at least half of it is empty.
 */

/** Empty places that are tolerated at the front, whatever the length. */
const SLACK = 64

class Queue {
  constructor() {
    this._items = []
    this._head = 0
  }

  get length() {
    return this._items.length - this._head
  }

  /** Returns the item at a place, counted from the front; `undefined` beyond the end. */
  at(index) {
    return this._items[this._head + index]
  }

  push(item) {
    this._items.push(item)
  }

  /** Puts an item in front of all others. */
  unshift(item) {
    if (this._head > 0) this._items[--this._head] = item
    else this._items.unshift(item)
  }

  /** Removes and returns the first item. */
  shift() {
    const item = this._items[this._head]
    this._items[this._head++] = undefined
    if (this._head > SLACK && this._head * 2 > this._items.length) {
      this._items.splice(0, this._head)
      this._head = 0
    }
    return item
  }

  /** Removes and returns the first item that matches, or returns `undefined`. */
  remove(matches) {
    const at = this._items.findIndex((item, index) => index >= this._head && matches(item))
    return at < 0 ? undefined : this._items.splice(at, 1)[0]
  }

  /** Removes and returns all items. */
  clear() {
    const items = this._items.slice(this._head)
    this._items = []
    this._head = 0
    return items
  }
}

/** A queue of items whose property `number` rises from front to back. */
class NumberedQueue extends Queue {
  /** Returns the item with this number, or `undefined`. */
  find(number) {
    const item = this._items[this.#lowerBound(number)]
    return item?.number === number ? item : undefined
  }

  /** Returns all items with a higher number, in order. */
  after(number) {
    return this._items.slice(this.#lowerBound(number + 1))
  }

  /** Returns the index of the first item with this number or a higher one (binary search). */
  #lowerBound(number) {
    let low = this._head
    let high = this._items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this._items[middle].number < number) low = middle + 1
      else high = middle
    }
    return low
  }
}

module.exports = { Queue, NumberedQueue }
