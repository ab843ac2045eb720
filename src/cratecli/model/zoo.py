"""Every named CRATE in timm's own registry: `import cratecli.model.zoo`, then `timm.create_model(NAME)`.

A module of its own, because timm takes seconds to import and the command line needs none of it.
"""

from dataclasses import replace
from typing import Any

from timm.models import load_pretrained, register_model

from cratecli.model.config import ARCHITECTURES, CrateConfig
from cratecli.model.crate import Crate


def _register(name: str, config: CrateConfig) -> None:
    def build(
        pretrained: bool = False,
        *,
        num_classes: int | None = None,
        img_size: int | None = None,
        in_chans: int = 3,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: object = None,
        pretrained_model_args: object = None,
        cache_dir: str | None = None,
        **changes: Any,
    ) -> Crate:
        del pretrained_cfg_overlay, pretrained_model_args  # timm passes them to every model
        on_hub = (
            isinstance(pretrained_cfg, dict) and "hf_hub_id" in pretrained_cfg
        )  # as timm reads `hf-hub:…`
        if pretrained and not on_hub:
            raise ValueError(f"{name}: pretrained weights come from cratecli.load_model, which verifies them")
        if in_chans != 3:
            raise ValueError(f"{name}: a CRATE reads 3 channels, not {in_chans}")
        asked = {"classes": num_classes, "image_size": img_size}
        changes |= {field: value for field, value in asked.items() if value is not None}
        model = Crate(replace(config, **changes))
        model.pretrained_cfg = model.default_cfg = {"architecture": name, **model.config.for_timm()}
        if on_hub:
            model.pretrained_cfg = {**model.default_cfg, **pretrained_cfg}
            if pretrained:
                load_pretrained(model, dict(model.pretrained_cfg), model.config.classes, cache_dir=cache_dir)
        return model

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Make `{name}` with random weights; keywords replace fields of its `CrateConfig`."
    register_model(build)


for _name, _config in ARCHITECTURES.items():
    _register(_name, _config)
