"""Published costs and accuracies of the DeepLab family, each with the run that it stands for.

Read in two independent transcriptions of each paper and on the model zoo's own page.
"""

from __future__ import annotations

from dataclasses import dataclass

from train.cost import ONCE, Images, Strategy

VOC, CITYSCAPES = Images((513, 513), 21), Images((1025, 2049), 19)
MS = Strategy((0.5, 0.75, 1.0, 1.25, 1.5, 1.75))
MS_FLIP = Strategy(MS.scales, flip=True)
THREE_FLIP = Strategy((0.75, 1.0, 1.25), flip=True)


@dataclass(frozen=True)
class Published:
    """A published row.

    `row` is its number in the table, or a name; `gmacs` are 1e9 multiply-adds for one image read by
    the strategy; `miou` is in percent on the val set, None where only the test set was scored;
    `note` says why ours differs.
    """

    row: int | str
    architecture: str
    output_stride: int
    images: Images
    strategy: Strategy
    gmacs: float
    miou: float | None
    source: str
    note: str = ""


V3PLUS = "Chen et al. 2018, arXiv 1802.02611"
MOBILENETV2 = "Sandler et al. 2018, arXiv 1801.04381, table 7"
ZOO_PAGE = "tensorflow/models, research/deeplab/g3doc/model_zoo.md"

# Table 5: Xception-65 on VOC val, trained at output stride 16. Eval output stride, decoder and SC
# as modifiers of ours, strategy, 1e9 multiply-adds, mIoU. Rows 17 to 20 are pretrained on COCO
# beside ImageNet, 21 to 24 on JFT as well, which costs nothing at run time.
NO_DECODER, DENSE, SEPARABLE = "no-decoder,dense", "dense", "separable"
TABLE5 = tuple(
    Published(
        row, f"deeplabv3plus_xception65,{modifiers}", output_stride, VOC, strategy, gmacs, miou,
        f"{V3PLUS}, table 5",
    )
    for row, (output_stride, modifiers, strategy, gmacs, miou) in enumerate(
        (
            (16, NO_DECODER, ONCE, 68.00, 79.17),
            (16, NO_DECODER, MS, 601.74, 80.57),
            (16, NO_DECODER, MS_FLIP, 1203.34, 80.79),
            (8, NO_DECODER, ONCE, 240.85, 79.64),
            (8, NO_DECODER, MS, 2149.91, 81.15),
            (8, NO_DECODER, MS_FLIP, 4299.68, 81.34),
            (16, DENSE, ONCE, 89.76, 79.93),
            (16, DENSE, MS, 790.12, 81.38),
            (16, DENSE, MS_FLIP, 1580.10, 81.44),
            (8, DENSE, ONCE, 262.59, 80.22),
            (8, DENSE, MS, 2338.15, 81.60),
            (8, DENSE, MS_FLIP, 4676.16, 81.63),
            (16, SEPARABLE, ONCE, 54.17, 79.79),
            (16, SEPARABLE, MS_FLIP, 928.81, 81.21),
            (8, SEPARABLE, ONCE, 177.10, 80.02),
            (8, SEPARABLE, MS_FLIP, 3055.35, 81.39),
            (16, SEPARABLE, ONCE, 54.17, 82.20),
            (16, SEPARABLE, MS_FLIP, 928.81, 83.34),
            (8, SEPARABLE, ONCE, 177.10, 82.45),
            (8, SEPARABLE, MS_FLIP, 3055.35, 83.58),
            (16, SEPARABLE, ONCE, 54.17, 83.03),
            (16, SEPARABLE, MS_FLIP, 928.81, 84.22),
            (8, SEPARABLE, ONCE, 177.10, 83.39),
            (8, SEPARABLE, MS_FLIP, 3055.35, 84.56),
        ),
        start=1,
    )
)  # fmt: skip

# The zoo's MobileNetV2 has image pooling and the 1x1 branch, but no atrous branch and no decoder.
POOLED, HALF = "deeplabv3_mobilenetv2,no-atrous", "deeplabv3_mobilenetv2,no-atrous,width=0.5"
MOBILENET, XCEPTION = "deeplabv3_mobilenetv2", "deeplabv3plus_xception65"
RESNET, DECODED = "deeplabv3_resnet101,beta", "deeplabv3plus_resnet101,beta,dense"
TABLE3 = f"{V3PLUS}, table 3"
TIMM_WIDTH = (
    "MobileNetV2 x 0.5: timm rounds the 12 channels at stride 4 up to 16; with 12 it is 0.868 and "
    "2.826"
)
TIMM_STRIDE = (
    "ResNet-101: timm strides in the first unit of a stage, the original in the last unit before "
    "it; that way v3 is 80.83 and 275.94"
)
NO_GRID = "ResNet-101 v3+ at 16: 101.28 fits no multi-grid (101.22 with the original's strides)"
ELSEWHERE = (
    Published("MobileNetV2, VOC", POOLED, 16, VOC, ONCE, 2.75, 75.32, ZOO_PAGE),
    Published("MobileNetV2, VOC", POOLED, 8, VOC, MS_FLIP, 152.59, 77.33, ZOO_PAGE),
    Published("MobileNetV2 x 0.5, VOC", HALF, 16, VOC, ONCE, 0.88, 70.19, ZOO_PAGE, TIMM_WIDTH),
    Published("MobileNetV2 x 0.5, VOC", HALF, 8, VOC, ONCE, 2.84, None, ZOO_PAGE, TIMM_WIDTH),
    Published("MobileNetV2, Cityscapes", POOLED, 16, CITYSCAPES, ONCE, 21.27, 70.71, ZOO_PAGE),
    Published(
        "MobileNetV2, Cityscapes", POOLED, 8, CITYSCAPES, THREE_FLIP, 433.24, 73.57, ZOO_PAGE
    ),
    Published("Xception-65, Cityscapes", XCEPTION, 16, CITYSCAPES, ONCE, 418.64, 78.79, ZOO_PAGE),
    Published(
        "Xception-65, Cityscapes", XCEPTION, 8, CITYSCAPES, THREE_FLIP, 8677.92, 80.42, ZOO_PAGE
    ),
    Published("MobileNetV2 + ASPP, VOC", MOBILENET, 16, VOC, ONCE, 5.8, 75.70, MOBILENETV2),
    Published("MobileNetV2 + ASPP, VOC", MOBILENET, 8, VOC, MS_FLIP, 387.0, 78.42, MOBILENETV2),
    Published("ResNet-101 v3, VOC", RESNET, 16, VOC, ONCE, 81.02, 77.21, TABLE3, TIMM_STRIDE),
    Published("ResNet-101 v3, VOC", RESNET, 8, VOC, ONCE, 276.18, 78.51, TABLE3, TIMM_STRIDE),
    Published("ResNet-101 v3, VOC", RESNET, 8, VOC, MS_FLIP, 4870.59, 79.77, TABLE3, TIMM_STRIDE),
    Published("ResNet-101 v3+, VOC", DECODED, 16, VOC, ONCE, 101.28, 78.85, TABLE3, NO_GRID),
    Published("ResNet-101 v3+, VOC", DECODED, 8, VOC, ONCE, 297.92, 79.35, TABLE3, TIMM_STRIDE),
)
NOT_COUNTED = (
    "Not counted, for the family has no such heads: MobileNetV3 with LR-ASPP (15.95 and 4.63), "
    "Xception-71 with a dense prediction cell (502.07)"
)
