// Types of the package's entry `noiseball/painting`: pictures and masks for the options `init` and `mask` of `sample`.

/**
 * A picture's pixels at a model's size, as `init` takes them: its middle, or with `whole` all of it on the ground (white unless told), which
 * also shows behind what is transparent.
 */
export function fitted(
  bitmap: ImageBitmap,
  size: { readonly width: number; readonly height: number },
  whole?: boolean,
  ground?: string,
): ImageData;

/**
 * A mask that a reader paints over a picture on a canvas: with a pointer, or with arrows, Space and Backspace while the canvas has the focus.
 * Give the canvas a name for screen readers, and `touch-action: none`.
 */
export class Mask {
  /** `changed` is called after each stroke, with what screen readers should hear of it, or ''. */
  constructor(canvas: HTMLCanvasElement, changed: (text: string) => void);
  /** 1 where the model is to paint anew, 0 where the picture is kept: `[height, width]`, as the option `mask` takes it. */
  values: Float32Array;
  /** The brush's width in the picture's pixels. */
  brush: number;
  /** Whether the brush takes paint away. */
  erases: boolean;
  /** Whether there is a mask at all; draw it after a change. */
  on: boolean;
  /** How many pixels are painted. */
  readonly painted: number;
  /** The picture under it. Where it has another size than the one before, nothing is painted any more. */
  show(pixels: ImageData): void;
  clear(): void;
  invert(): void;
  /** Paints a rectangle, or erases one. */
  rectangle(left: number, top: number, width: number, height: number): void;
  draw(): void;
}
