module menshen.example/shop

go 1.19
