module esfeed.example/native

go 1.21
