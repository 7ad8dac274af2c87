/** A syntax error at an offset of a text. The parts of a check throw it; the check of the format catches it. */
export class FaultAt extends Error {
  constructor(
    readonly offset: number,
    message: string,
  ) {
    super(message);
  }
}

/** The offset at which each line of a text begins. CR LF, LF and CR end a line. */
export class Lines {
  readonly #starts: number[] = [0];

  constructor(text: string) {
    for (const { index, 0: lineEnd } of text.matchAll(/\r\n?|\n/g)) this.#starts.push(index + lineEnd.length);
  }

  /** The line and the column of an offset, both from 1. A column is one UTF-16 unit. */
  place(offset: number): { line: number; column: number } {
    let [low, high] = [0, this.#starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: offset - this.#starts[low]! + 1 };
  }
}
