/** A place in a LinkedList. */
export interface Node<T> {
  value: T;
  prev: Node<T> | undefined;
  next: Node<T> | undefined;
}

/** A doubly linked list: everything in O(1), so that "move to the end" keeps an order by recency. */
export class LinkedList<T> {
  #first: Node<T> | undefined;
  #last: Node<T> | undefined;
  #size = 0;

  get first(): Node<T> | undefined {
    return this.#first;
  }

  get last(): Node<T> | undefined {
    return this.#last;
  }

  get size(): number {
    return this.#size;
  }

  /** Appends a value and returns its place. */
  push(value: T): Node<T> {
    const node: Node<T> = { value, prev: undefined, next: undefined };
    this.#append(node);
    return node;
  }

  /** Prepends a value and returns its place. */
  unshift(value: T): Node<T> {
    const node: Node<T> = { value, prev: undefined, next: this.#first };
    if (this.#first) this.#first.prev = node;
    else this.#last = node;
    this.#first = node;
    this.#size++;
    return node;
  }

  /** Moves a place of this list to the end. */
  moveToEnd(node: Node<T>): void {
    if (node === this.#last) return;
    this.remove(node);
    this.#append(node);
  }

  /** Removes a place from this list. */
  remove(node: Node<T>): void {
    if (node.prev) node.prev.next = node.next;
    else this.#first = node.next;
    if (node.next) node.next.prev = node.prev;
    else this.#last = node.prev;
    node.prev = node.next = undefined;
    this.#size--;
  }

  #append(node: Node<T>): void {
    node.prev = this.#last;
    if (this.#last) this.#last.next = node;
    else this.#first = node;
    this.#last = node;
    this.#size++;
  }
}
