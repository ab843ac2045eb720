"""A demo of crate for a Hugging Face Space, or for this machine: `python app.py`.

Drop a photo: its mask, its cut-out, and the attention of every head. Press the photo to ask what is there.
"""

from pathlib import Path

import gradio as gr
import numpy as np

import cratecli

MODEL = cratecli.load_model()
PHOTOS = sorted(map(str, Path(__file__).parent.parent.glob("*.jpg")))


def press(photo: np.ndarray, least: float, event: gr.SelectData) -> tuple[object, object, object, str]:
    """Segment what is at the pixel that was pressed."""
    return ask(photo, least, (int(event.index[0]), int(event.index[1])))


def ask(
    photo: np.ndarray | None, least: float, at: tuple[int, int] | None = None
) -> tuple[object, object, object, str]:
    """Segment a photo, RGB 0–255, by itself or by the pixel that was pressed."""
    if photo is None:
        return None, None, None, "Choose a photo."
    seen = cratecli.look(photo, MODEL)
    clicked = {"at": [at]} if at else {"min_confidence": least}
    found = cratecli.segment(seen, **clicked)
    maps = cratecli.heads(seen, layers=[-2]).attention[0]
    cutout = np.dstack([photo, np.where(found.mask, 255, 0).astype(np.uint8)])
    shown = [(each / each.max(), f"head {number}") for number, each in enumerate(maps)]
    share = f"{found.mask.mean():.0%} of the photo, confidence {found.confidence:.2f}"
    return (photo, [(found.mask, "object")]), cutout, shown, "Nothing found." if found.empty else share


with gr.Blocks(title="crate: emergent segmentation") as demo:
    gr.Markdown("# crate\nA mask from a transformer that was trained on class labels alone.")
    gr.Markdown("Press the photo to ask what is there.")
    with gr.Row():
        with gr.Column():
            photo = gr.Image(type="numpy", label="Photo", sources=["upload", "clipboard"])
            least = gr.Slider(
                0, 1, MODEL.least_confidence, step=0.05, label="Leave masks of less confidence empty"
            )
            if PHOTOS:
                gr.Examples(PHOTOS, photo)
        with gr.Column():
            mask = gr.AnnotatedImage(label="Mask")
            cutout = gr.Image(label="Cut-out", format="png")
            said = gr.Textbox(label="Answer", interactive=False)
    maps = gr.Gallery(label="What each head looks at, in the layer before the last", columns=6)
    answers = [mask, cutout, maps, said]
    gr.on([photo.change, least.release], ask, [photo, least], answers)
    photo.select(press, [photo, least], answers)

if __name__ == "__main__":
    demo.launch()
