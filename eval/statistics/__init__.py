"""Statistics of training curves: results, scores, and their aggregates."""
