"""What people outlined in pictures: the shapes, and the files that annotation tools keep them in (COCO, Pascal VOC, LabelMe)."""
